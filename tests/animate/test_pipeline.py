"""Rendering pipeline: order, errors, bounds and termination of the background threads."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Iterator

import pytest

from deepfakemnist.animate.pipeline import RenderAhead, prefetch


def named(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(name)]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert not named("prefetch")
    assert not named("write")


def wait_for(condition) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end, "it did not happen within 5 s"
        time.sleep(0.005)


def test_items_come_in_order():
    assert list(prefetch(range(50), 3)) == list(range(50))
    assert list(prefetch([], 3)) == []


def test_items_are_read_ahead_in_another_thread_up_to_the_depth():
    taken, threads = [], set()

    def source():
        for i in range(20):
            taken.append(i)
            threads.add(threading.get_ident())
            yield i

    items = prefetch(source(), 3)
    assert next(items) == 0
    wait_for(lambda: len(taken) == 5)  # one yielded, three queued, one held by the thread
    time.sleep(0.3)  # longer than the polling interval of the thread
    assert taken == [0, 1, 2, 3, 4]
    assert threading.get_ident() not in threads
    items.close()


def test_an_error_comes_after_the_items_before_it_with_its_traceback():
    def source():
        yield 1
        yield 2
        raise ZeroDivisionError("of the source")

    got = []
    with pytest.raises(ZeroDivisionError, match="of the source") as error:
        for item in prefetch(source(), 4):
            got.append(item)
    assert got == [1, 2]
    assert "raise ZeroDivisionError" in "".join(traceback.format_exception(error.value))


def test_a_consumer_that_stops_ends_thread_and_source():
    closed = threading.Event()

    def source():
        try:
            yield from iter(int, 1)  # endless zeros
        finally:
            closed.set()

    items = prefetch(source(), 2)
    next(items)
    assert named("prefetch")
    items.close()
    assert closed.is_set()
    assert not named("prefetch")


def test_a_depth_of_zero_is_refused():
    with pytest.raises(ValueError, match="depth is 0"):
        next(prefetch([1], 0))


def steps(log: list, slow_write: float = 0.0):
    def load(item: int) -> int:
        log.append(("load", item, threading.current_thread().name))
        if item == 2:
            raise OSError("load of 2")
        return item * 10

    def render(item: int, loaded: int) -> int:
        log.append(("render", item, threading.current_thread().name))
        if item == 4:
            raise ValueError("render of 4")
        return loaded + item

    def write(item: int, rendered: int) -> str:
        time.sleep(slow_write)
        log.append(("write", item, threading.current_thread().name))
        if item == 6:
            raise RuntimeError("write of 6")
        return f"{item}: {rendered}"

    return load, render, write


@pytest.mark.parametrize("depth", [0, 1, 4])
def test_results_and_errors_belong_to_their_items(depth):
    results = {}
    with RenderAhead(range(8), *steps([]), depth=depth) as ahead:
        for item in range(8):
            try:
                results[item] = ahead.take(item)
            except (OSError, ValueError, RuntimeError) as error:
                results[item] = str(error)
    assert list(results.values()) == [
        "0: 0",
        "1: 11",
        "load of 2",
        "3: 33",
        "render of 4",
        "5: 55",
        "write of 6",
        "7: 77",
    ]


def test_rendering_continues_while_clips_are_written():
    log: list = []
    with RenderAhead([0, 1, 3, 5], *steps(log, slow_write=0.2), depth=2) as ahead:
        assert ahead.take(0) == "0: 0"
        rendered = [item for step, item, _ in log[: log.index(("write", 0, "write_0"))] if step == "render"]
        assert rendered[:2] == [0, 1]  # the second was rendered before the first was written
        assert ahead.take(5) == "5: 55"
    assert {name for step, _, name in log if step == "write"} <= {"write_0", "write_1"}
    assert threading.current_thread().name not in {name for _, _, name in log}


def test_depth_bounds_what_is_rendered_ahead():
    log: list = []
    items = [0, 1, 3, 5, 7, 8, 9, 10, 11, 12]
    with RenderAhead(items, *steps(log), depth=2) as ahead:
        ahead.take(0)
        wait_for(lambda: ("render", 5) in [entry[:2] for entry in log])
        time.sleep(0.3)
        assert [item for step, item, _ in log if step == "render"] == [0, 1, 3, 5]


def test_finished_items_at_the_start_are_not_processed():
    log: list = []
    with RenderAhead(range(20), *steps(log), depth=1) as ahead:
        assert ahead.take(7) == "7: 77"
        assert ahead.take(9) == "9: 99"
    assert min(item for _, item, _ in log) == 7


def test_an_unknown_item_is_refused():
    with RenderAhead([0, 1], *steps([]), depth=1) as ahead, pytest.raises(LookupError, match="5 is not among"):
        ahead.take(5)


def test_without_depth_all_steps_run_in_the_calling_thread_on_request():
    log: list = []
    with RenderAhead(range(8), *steps(log), depth=0) as ahead:
        ahead.take(3)
    main = threading.current_thread().name
    assert log == [("load", 3, main), ("render", 3, main), ("write", 3, main)]


def test_leaving_the_context_early_ends_the_threads():
    with RenderAhead(range(1000), *steps([], slow_write=0.01), depth=3) as ahead:
        ahead.take(0)
        assert named("prefetch")
        assert named("write")
    assert not named("prefetch")
    assert not named("write")
