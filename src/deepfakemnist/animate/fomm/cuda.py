"""CUDA graphs of the renderer; not used without a GPU.

A graph replaces hundreds of kernel launches by one, at the price of fixed shapes and memory of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

import torch
from torch import Tensor

from deepfakemnist.animate.fomm.network import EncodedSource, Generator, Keypoints

log = logging.getLogger(__name__)

#: Runs before a capture in which cuDNN selects and prepares its kernels (recommended by the PyTorch manual).
_WARM_UP = 3

#: Batch size and image shape.
_Shape = tuple[int, ...]


class GraphedRender:
    """Renders batches by replaying a CUDA graph: one launch for hundreds of kernels.

    Each shape captures a graph of its own, so keep shapes few: the animator pads the last batch of a clip. The result
    lives in the graph's memory and is valid until the next call.
    """

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self._graphs: dict[_Shape, tuple[torch.cuda.CUDAGraph, list[Tensor], Tensor]] = {}
        self._refused = False

    def __call__(self, encoded: EncodedSource, source: Keypoints, driving: Keypoints) -> Tensor:
        """Source and its keypoints (1, ...), driving keypoints (B, ...) → images (B, 3, H, W).

        If capturing fails, e.g. for lack of driver support, it warns once and renders without graphs.
        Raises: torch.OutOfMemoryError.
        """
        inputs = [*encoded, *source, *driving]
        if self._refused:
            return _render(self._generator, inputs)
        shape = (len(driving.value), *encoded.image.shape)
        if shape not in self._graphs:
            try:
                self._graphs[shape] = self._capture(inputs)
            except RuntimeError as error:
                out_of_memory = _out_of_memory(error)
                if out_of_memory is not None:
                    raise out_of_memory from None
                log.warning("CUDA graph capture failed, rendering without graphs: %s", error)
                self._refused = True
                return _render(self._generator, inputs)
        graph, kept, out = self._graphs[shape]
        for static, value in zip(kept, inputs, strict=True):
            static.copy_(value, non_blocking=True)
        graph.replay()
        return out

    def release(self) -> None:
        """Drop the graphs and free their memory."""
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
    """Return the one stream for all captures on a GPU: cuBLAS keeps a workspace per stream, 32 MiB on an H200."""
    return torch.cuda.Stream(device)


@contextmanager
def captured_graph() -> Iterator[torch.cuda.CUDAGraph]:
    """Capture the GPU work of the body; restore stream and memory if that fails.

    ``torch.cuda.graph`` of torch 2.11 does not: where ending the capture raises, the capture stream stays current, and
    the allocator still assumes a capture in progress and never frees its memory (pytorch/pytorch#180395 and #190348,
    fixed in later releases). Random number generation on the GPU would fail from then on, too.

    Raises: what the body or the end of the capture raises; if both do, the body's.
    """
    torch.cuda.synchronize()
    torch.cuda.empty_cache()  # the graph has a memory pool of its own
    graph, pool = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle()
    random = torch.cuda.get_rng_state()
    with torch.cuda.stream(_capture_stream(torch.cuda.current_device())):
        # Other threads of the job encode and read files; their work is not part of the capture.
        graph.capture_begin(pool=pool, capture_error_mode="thread_local")
        try:
            yield graph
        except BaseException:
            with suppress(RuntimeError):
                _end(graph, pool, random)
            raise
        _end(graph, pool, random)


def _end(graph: torch.cuda.CUDAGraph, pool: tuple[int, int], random: Tensor) -> None:
    """End a capture. Raises: RuntimeError when it is invalid; its resources are freed nevertheless."""
    try:
        graph.capture_end()
    except RuntimeError:
        device = torch.cuda.current_device()
        for release in (torch._C._cuda_endAllocateToPool, torch._C._cuda_releasePool):
            with suppress(RuntimeError):  # raised if capture_end already did this
                release(device, pool)
        generator = torch.cuda.default_generators[device]
        generator.graphsafe_set_state(torch.Generator(f"cuda:{device}").graphsafe_get_state())
        generator.set_state(random)
        raise


def _out_of_memory(error: BaseException | None) -> torch.OutOfMemoryError | None:
    """Return the OutOfMemoryError in an error's chain of causes: ending a capture that ran out raises another error."""
    while error is not None and not isinstance(error, torch.OutOfMemoryError):
        error = error.__cause__ or error.__context__
    return error


def _render(generator: Generator, inputs: list[Tensor]) -> Tensor:
    """Render from the flat tensors of an ``EncodedSource`` and two ``Keypoints``; the source has batch size 1."""
    count = len(inputs[-1])
    wide = [value.expand(count, *value.shape[1:]) for value in inputs]
    encoded, source, driving = EncodedSource(*wide[:3]), Keypoints(*wide[3:5]), Keypoints(*wide[5:])
    return generator.decode(encoded, generator.motion(encoded, source, driving))
