"""What only a GPU needs: the rendering of a batch as one CUDA graph, and copies to the host that it does not wait for.

Written with care but never run: no GPU was at hand. Without one nothing here is called.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator

import torch
from torch import Tensor

from deepfakemnist.animate.network import EncodedSource, Generator, Keypoints

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
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                _render(self._generator, kept)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out = _render(self._generator, kept)
        return graph, kept, out


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
        event = torch.cuda.Event()
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
