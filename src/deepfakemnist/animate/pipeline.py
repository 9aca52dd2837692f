"""Rendering pipeline: overlapped decoding, rendering and encoding of a shard's clips, to keep the GPU busy.

Order and results are those of a plain loop. Threads suffice for decoding and rendering, because decoders and CUDA
release the GIL; writer threads hand their clips to processes (:mod:`deepfakemnist.media.writer_processes`).
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
Rendered = TypeVar("Rendered")
Result = TypeVar("Result")

#: Interval at which a blocked producer checks that its consumer is still alive, seconds.
_POLL_S = 0.1
_END = object()


def prefetch(items: Iterable[Item], depth: int) -> Generator[Item, None, None]:
    """Yield the items, which a background thread reads from the iterable up to ``depth`` ahead.

    An exception of the iterable is re-raised here, with its traceback, after the items before it. The thread ends when
    the items are exhausted or this generator is closed or dropped; it closes a generator that it reads from.

    Raises: ValueError for a depth below 1, at the first item.
    """
    if depth < 1:
        raise ValueError(f"depth is {depth}; it must be at least 1")
    ahead: queue.Queue[object] = queue.Queue(depth)
    stop = threading.Event()

    def put(value: object) -> bool:
        while not stop.is_set():
            try:
                ahead.put(value, timeout=_POLL_S)
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


class RenderAhead(Generic[Item, Input, Rendered, Result]):
    """Processes the items of a shard ahead of the loop that consumes their results.

    Three steps run concurrently on different items: ``load`` and ``render`` in one thread each, ``write`` in
    ``writers`` threads. Use it as a context manager; on exit each thread finishes its current step and ends.

    Args:
        items: in the order in which ``take`` requests them; it may skip items.
        load: item → input of ``render``.
        render: item and its input → input of ``write``. Never runs concurrently with itself.
        write: item and rendered output → result.
        depth: items past ``load`` that have not been taken yet; bounds memory. 0 runs all steps in ``take``, in the
            calling thread and for requested items only.
        writers: number of writer threads.
    """

    def __init__(
        self,
        items: Iterable[Item],
        load: Callable[[Item], Input],
        render: Callable[[Item, Input], Rendered],
        write: Callable[[Item, Rendered], Result],
        *,
        depth: int = 4,
        writers: int = 2,
    ) -> None:
        if depth < 0 or writers < 1:
            raise ValueError(f"depth is {depth} and writers {writers}; they must be at least 0 and 1")
        self._items = list(items)
        self._load, self._render, self._write = load, render, write
        self._depth = depth
        self._writers = ThreadPoolExecutor(writers, thread_name_prefix="write") if depth else None
        self._results: Generator[tuple[Item, Future[Result]], None, None] | None = None

    def __enter__(self) -> RenderAhead[Item, Input, Rendered, Result]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._results is not None:
            self._results.close()
        if self._writers is not None:
            self._writers.shutdown(cancel_futures=True)

    def take(self, item: Item) -> Result:
        """Return the result of an item; the items after it are processed in the background.

        Raises: what a step raised for this item; LookupError when the item does not follow those already taken.
        """
        if self._writers is None:
            return self._write(item, self._render(item, self._load(item)))
        if self._results is None:
            # A resumed job skips finished items: start with the first one requested.
            first = next((index for index, one in enumerate(self._items) if one == item), len(self._items))
            self._results = prefetch(self._rendered(self._items[first:]), self._depth)
        for one, result in self._results:
            if one == item:
                return result.result()
        raise LookupError(f"{item!r} is not among the remaining items")

    def _rendered(self, items: list[Item]) -> Generator[tuple[Item, Future[Result]], None, None]:
        assert self._writers is not None
        with closing(prefetch(((item, _outcome(self._load, item)) for item in items), 1)) as loaded:
            for item, given in loaded:
                rendered = _outcome(lambda item, given: self._render(item, given.result()), item, given)
                if rendered.exception() is None:
                    yield item, self._writers.submit(self._write, item, rendered.result())
                else:
                    yield item, cast("Future[Result]", rendered)


def _outcome(function: Callable[..., Result], *arguments: object) -> Future[Result]:
    """Call the function now; its exception stays with the item that caused it."""
    outcome: Future[Result] = Future()
    try:
        outcome.set_result(function(*arguments))
    except Exception as error:
        outcome.set_exception(error)
    return outcome
