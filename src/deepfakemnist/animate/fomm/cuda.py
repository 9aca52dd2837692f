"""What only a GPU needs: the rendering of a batch as one CUDA graph, and copies to the host that it does not wait for.

Without a GPU nothing here is called.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

import torch
from torch import Tensor

from deepfakemnist.animate.fomm.network import EncodedSource, Generator, Keypoints

log = logging.getLogger(__name__)

#: Runs before a capture, in which cuDNN chooses and prepares its kernels (PyTorch's manual asks for some).
_WARM_UP = 3

#: Batch size, picture's shape.
_Shape = tuple[int, ...]


class GraphedRender:
    """Renders batches of one shape by replaying a CUDA graph: hundreds of kernels for one launch.

    A graph is captured for each shape met, so give it few: the animator pads the last batch of a clip. The result
    lies in the graph's own memory and holds until the next call.
    """

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self._graphs: dict[_Shape, tuple[torch.cuda.CUDAGraph, list[Tensor], Tensor]] = {}
        self._refused = False

    def __call__(self, encoded: EncodedSource, source: Keypoints, driving: Keypoints) -> Tensor:
        """Source and its keypoints (1, ...), driving keypoints (B, ...) → pictures (B, 3, H, W).

        Where capturing fails, e.g. for lack of support in the driver, it is said once and rendering goes on without.
        Raises: torch.OutOfMemoryError.
        """
        inputs = [*encoded, *source, *driving]
        if self._refused:
            return _render(self._generator, inputs)
        shape = (len(driving.value), *encoded.picture.shape)
        if shape not in self._graphs:
            try:
                self._graphs[shape] = self._capture(inputs)
            except RuntimeError as error:
                shortage = _shortage(error)
                if shortage is not None:
                    raise shortage from None
                log.warning("no CUDA graph could be captured, rendering goes on without: %s", error)
                self._refused = True
                return _render(self._generator, inputs)
        graph, kept, out = self._graphs[shape]
        for place, value in zip(kept, inputs, strict=True):
            place.copy_(value, non_blocking=True)
        graph.replay()
        return out

    def forget(self) -> None:
        """Drop the graphs and the memory they hold."""
        self._graphs.clear()

    def _capture(self, inputs: list[Tensor]) -> tuple[torch.cuda.CUDAGraph, list[Tensor], Tensor]:
        kept = [value.clone() for value in inputs]
        stream = _capture_stream(torch.cuda.current_device())
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                _render(self._generator, kept)
        torch.cuda.current_stream().wait_stream(stream)
        with captured_graph() as graph:
            out = _render(self._generator, kept)
        return graph, kept, out


@cache
def _capture_stream(device: int) -> torch.cuda.Stream:
    """One for all captures on a card: cuBLAS keeps a work space for every stream that it meets, 32 MiB on an H200."""
    return torch.cuda.Stream(device)


@contextmanager
def captured_graph() -> Iterator[torch.cuda.CUDAGraph]:
    """Capture what the body asks of the GPU; leave stream and memory as they were when that fails.

    ``torch.cuda.graph`` of torch 2.11 does not: where ending the capture raises, the capture's stream stays the current
    one, and the allocator goes on to believe that a capture is under way and never gives its memory back
    (pytorch/pytorch#180395 and #190348, mended in later releases).

    Numbers drawn at random on the card would fail from then on as well.

    Raises: what the body or the end of the capture raises; of both, the body's.
    """
    torch.cuda.synchronize()
    torch.cuda.empty_cache()  # the graph gets memory of its own
    graph, pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
    random = torch.cuda.get_rng_state()
    with torch.cuda.stream(_capture_stream(torch.cuda.current_device())):
        # Other threads of the job encode and read files; what they do is no part of the capture.
        graph.capture_begin(pool=pool, capture_error_mode="thread_local")
        try:
            yield graph
        except BaseException:
            with suppress(RuntimeError):
                _end(graph, pool, random)
            raise
        _end(graph, pool, random)


def _end(graph: torch.cuda.CUDAGraph, pool: tuple[int, int], random: Tensor) -> None:
    """End a capture. Raises: RuntimeError when it had become invalid; what it had taken is given back nevertheless."""
    try:
        graph.capture_end()
    except RuntimeError:
        device = torch.cuda.current_device()
        for give_back in (torch._C._cuda_endAllocateToPool, torch._C._cuda_releasePool):
            with suppress(RuntimeError):  # raised where capture_end did this
                give_back(device, pool)
        generator = torch.cuda.default_generators[device]
        generator.graphsafe_set_state(torch.Generator(f"cuda:{device}").graphsafe_get_state())
        generator.set_state(random)
        raise


def _shortage(error: BaseException | None) -> torch.OutOfMemoryError | None:
    """Return the lack of memory that an error is or came of: ending a capture that ran out raises another on top."""
    while error is not None and not isinstance(error, torch.OutOfMemoryError):
        error = error.__cause__ or error.__context__
    return error


def to_host(batches: Iterator[tuple[Tensor, ...]]) -> Iterator[tuple[Tensor, ...]]:
    """Yield the batches on the host, copying each while the GPU already works on the next one."""
    waiting: deque[tuple[torch.cuda.Event, tuple[Tensor, ...]]] = deque()
    for batch in batches:
        copies = tuple(torch.empty(part.shape, dtype=part.dtype, pin_memory=True) for part in batch)
        for copy, part in zip(copies, batch, strict=True):
            copy.copy_(part, non_blocking=True)
        event = torch.cuda.Event(blocking=True)  # spinning would take a core from the writers
        event.record()
        waiting.append((event, copies))
        if len(waiting) > 1:
            yield _arrived(waiting)
    while waiting:
        yield _arrived(waiting)


def _arrived(waiting: deque[tuple[torch.cuda.Event, tuple[Tensor, ...]]]) -> tuple[Tensor, ...]:
    event, copies = waiting.popleft()
    event.synchronize()
    return copies


def _render(generator: Generator, inputs: list[Tensor]) -> Tensor:
    """Generate from the flat list of what ``EncodedSource`` and two ``Keypoints`` hold; the source has a batch of 1."""
    count = len(inputs[-1])
    wide = [value.expand(count, *value.shape[1:]) for value in inputs]
    encoded, source, driving = EncodedSource(*wide[:3]), Keypoints(*wide[3:5]), Keypoints(*wide[5:])
    return generator.decode(encoded, generator.motion(encoded, source, driving))
