"""Overlaps reading, rendering and writing of a shard's clips, so that a GPU does not wait for files and encoders.

Order and results are those of a plain loop. Threads suffice to read and render: decoders and CUDA release the lock.
Those that write hand their clips to processes (:mod:`deepfakemnist.media.writer_processes`).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from types import TracebackType
from typing import Generic, TypeVar, cast

Item = TypeVar("Item")
Input = TypeVar("Input")
Made = TypeVar("Made")
Result = TypeVar("Result")

#: How often a thread that waits for its consumer looks whether that is still there, seconds.
_LOOK_S = 0.1
_END = object()


def prefetch(items: Iterable[Item], depth: int) -> Generator[Item, None, None]:
    """Yield the items, which a background thread takes from the iterable up to ``depth`` ahead.

    What the iterable raises is raised here, with its traceback, after the items before it. The thread ends when the
    items do or when this generator is closed or dropped; it closes a generator that it was reading from.

    Raises: ValueError for a depth below 1, at the first item.
    """
    if depth < 1:
        raise ValueError(f"depth is {depth}; at least 1 item ahead is wanted")
    ahead: queue.Queue[object] = queue.Queue(depth)
    stop = threading.Event()

    def put(value: object) -> bool:
        while not stop.is_set():
            try:
                ahead.put(value, timeout=_LOOK_S)
            except queue.Full:
                continue
            return True
        return False

    def fill() -> None:
        source = iter(items)
        try:
            for item in source:
                if not put(item):
                    return
            put(_END)
        except BaseException as error:
            put(_Raised(error))
        finally:
            if hasattr(source, "close"):
                source.close()

    thread = threading.Thread(target=fill, name="prefetch", daemon=True)
    thread.start()
    try:
        while (value := ahead.get()) is not _END:
            if isinstance(value, _Raised):
                raise value.error
            yield cast(Item, value)
    finally:
        stop.set()
        thread.join()


class _Raised:
    """An error on its way to the consumer."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


class RenderAhead(Generic[Item, Input, Made, Result]):
    """Works on the items of a shard ahead of the loop that asks for their results.

    Three steps run at once, each on another item: ``load`` and ``render`` in a thread each, ``write`` in ``writers``
    threads. Use as a context manager; leaving it ends the threads, after the step each is in.

    Args:
        items: in the order in which ``take`` will ask for them; it may leave items out.
        load: item → what is needed to render it.
        render: item and that → what is written. Only one runs at a time.
        write: item and that → result.
        depth: items that may be beyond ``load`` and not yet taken; bounds memory. 0 does everything in ``take``, in the
            calling thread and for the items asked for only.
        writers: threads that write.
    """

    def __init__(
        self,
        items: Iterable[Item],
        load: Callable[[Item], Input],
        render: Callable[[Item, Input], Made],
        write: Callable[[Item, Made], Result],
        *,
        depth: int = 4,
        writers: int = 2,
    ) -> None:
        if depth < 0 or writers < 1:
            raise ValueError(f"depth is {depth}, writers {writers}; depth from 0 and writers from 1 are wanted")
        self._items = list(items)
        self._load, self._render, self._write = load, render, write
        self._depth = depth
        self._writers = ThreadPoolExecutor(writers, thread_name_prefix="write") if depth else None
        self._results: Generator[tuple[Item, Future[Result]], None, None] | None = None

    def __enter__(self) -> RenderAhead[Item, Input, Made, Result]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._results is not None:
            self._results.close()
        if self._writers is not None:
            self._writers.shutdown(cancel_futures=True)

    def take(self, item: Item) -> Result:
        """Return the result of an item; work on those after it begins or goes on.

        Raises: what a step raised for this item; LookupError when the item does not come after those taken before.
        """
        if self._writers is None:
            return self._write(item, self._render(item, self._load(item)))
        if self._results is None:
            # A job that goes on after a kill skips what is finished: begin with the first item that is wanted.
            first = next((index for index, one in enumerate(self._items) if one == item), len(self._items))
            self._results = prefetch(self._rendered(self._items[first:]), self._depth)
        for one, result in self._results:
            if one == item:
                return result.result()
        raise LookupError(f"{item!r} is not among the items that are left")

    def _rendered(self, items: list[Item]) -> Generator[tuple[Item, Future[Result]], None, None]:
        assert self._writers is not None
        with closing(prefetch(((item, _outcome(self._load, item)) for item in items), 1)) as loaded:
            for item, found in loaded:
                made = _outcome(lambda item, found: self._render(item, found.result()), item, found)
                if made.exception() is None:
                    yield item, self._writers.submit(self._write, item, made.result())
                else:
                    yield item, cast("Future[Result]", made)


def _outcome(function: Callable[..., Result], *arguments: object) -> Future[Result]:
    """Call now; what it raises is kept with the item it belongs to."""
    outcome: Future[Result] = Future()
    try:
        outcome.set_result(function(*arguments))
    except Exception as error:
        outcome.set_exception(error)
    return outcome
