"""Frames in batches through a network: device, memory that runs out, rounding to 8 bits. Shared by animators.

Batches trade memory for speed; where memory runs out, they are halved for good.
"""

from __future__ import annotations

import gc
import logging
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepfakemnist.devices.reduced_precision import deterministic_cudnn
from deepfakemnist.errors import Failed

log = logging.getLogger(__name__)

#: Decoded images (uint8, 0..255), or images scaled to 0..1 (float32).
Images = NDArray[np.uint8] | NDArray[np.float32]
Output = TypeVar("Output")


class Batches:
    """Runs a network on batches of the frames of a clip.

    Args:
        device: where the network is.
        size: frames per batch.
        release: frees what the network keeps between batches, when memory has run out.
    """

    def __init__(self, device: torch.device, size: int, release: Callable[[], None] | None = None) -> None:
        self.device, self.size = device, size
        self._release = release

    def of(self, count: int, process: Callable[[int, int], Output]) -> Iterator[Output]:
        """Yield ``process(start, stop)`` for each batch of ``count`` frames.

        Raises: MemoryError when not even one frame fits into the device's memory.
        """
        start = 0
        # Inference mode must be off while the caller holds a batch, so it spans single batches instead of the loop.
        while start < count:
            stop = min(start + self.size, count)
            output = None
            try:
                with inference(self.device):
                    output = process(start, stop)
            except torch.OutOfMemoryError as error:
                if self.size == 1:
                    raise MemoryError(
                        f"not even one frame fits into the memory of {self.device}; use smaller images, a device "
                        "with more memory or device: cpu, and check that no other process occupies it"
                    ) from error
            if output is None:  # outside the handler, because the exception keeps the allocations alive
                self._halve()
                continue
            start = stop
            yield output

    def _halve(self) -> None:
        self.size //= 2
        log.warning("out of memory on %s; continuing with batches of %d frames", self.device, self.size)
        if self._release is not None:
            self._release()
        gc.collect()  # exceptions and the frames of their tracebacks reference each other
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def eight_bits(
    batches: Iterator[Tensor], device: torch.device, rounding: Literal["half_to_even", "down"] = "half_to_even"
) -> Iterator[NDArray[np.uint8]]:
    """Yield RGB frames (H, W, 3), uint8, of batches (n, 3, H, W) in 0..1.

    Args:
        batches: each is valid until the next one is requested.
        device: where they are; on CUDA a batch is copied while the next one is computed.
        rounding: half_to_even, as skimage's img_as_ubyte does, or down.

    Raises: Failed("not_finite") for NaN or infinity.
    """

    def levels() -> Iterator[tuple[Tensor, ...]]:
        for images in batches:
            with inference(device):
                scaled = images * 255
                rounded = scaled.round() if rounding == "half_to_even" else scaled.clamp(0, 255).floor()
                # Permuted on the device, where it is cheap on a GPU.
                pixels = rounded.to(torch.uint8).permute(0, 2, 3, 1).contiguous()
                finite = torch.isfinite(images).all()
            yield pixels, finite

    done = 0
    for batch, finite in _to_host(levels()) if device.type == "cuda" else levels():
        _check_finite(bool(finite), done)
        done += len(batch)
        yield from batch.numpy()


def unrounded(batches: Iterator[Tensor]) -> Iterator[NDArray[np.float32]]:
    """Yield batches of frames (n, H, W, 3) in 0..1 of batches (n, 3, H, W). Raises: Failed("not_finite")."""
    done = 0
    for batch in batches:
        images = batch.permute(0, 2, 3, 1).cpu().contiguous().numpy()
        _check_finite(bool(np.isfinite(images).all()), done)
        done += len(images)
        yield images


def to_tensor(images: Images, device: torch.device) -> Tensor:
    """(T, H, W, 3) → (T, 3, H, W) in 0..1 on the device, channels last in memory."""
    batch = torch.from_numpy(np.ascontiguousarray(images)).to(device).permute(0, 3, 1, 2)
    return batch.float() / 255 if batch.dtype == torch.uint8 else batch


def to_levels(images: Images) -> NDArray[np.uint8]:
    """Return images as 8-bit levels."""
    return np.asarray(images if images.dtype == np.uint8 else np.rint(images * 255), dtype=np.uint8)


def check_images(images: Images, dimensions: int, *, multiple: int = 1, smallest: int = 1) -> None:
    """Check that pictures (..., H, W, 3) suit a network.

    Args:
        images: pictures.
        dimensions: 3 for one picture, 4 for several.
        multiple: what both sides must be multiples of.
        smallest: least side.

    Raises: ValueError for another type or number of dimensions, Failed("frame_size").
    """
    if images.ndim != dimensions or images.shape[-1] != 3 or images.dtype not in (np.uint8, np.float32):
        raise ValueError(
            f"images are {images.dtype} {images.shape}, expected uint8 or float32 with {dimensions} dimensions, "
            "the last being RGB"
        )
    height, width = images.shape[-3:-1]
    if height % multiple or width % multiple or min(height, width) < smallest:
        raise Failed(
            "frame_size",
            f"images are {width}×{height}; this network supports sides from {smallest} in multiples of {multiple}",
        )


def _check_finite(finite: bool, frame: int) -> None:
    """Raise Failed("not_finite") unless the frames from this one on are finite."""
    if not finite:
        cause = "are the weights damaged? On a GPU, precision: exact has a larger range of values than fast"
        raise Failed("not_finite", f"frames from {frame} on contain NaN or infinity; {cause}")


@contextmanager
def inference(device: torch.device) -> Iterator[None]:
    """Disable gradients; on CUDA, use deterministic algorithms in full float32 (TF32 keeps 10 bits of mantissa)."""
    with torch.inference_mode(), deterministic_cudnn(tf32=False) if device.type == "cuda" else nullcontext():
        yield


def _to_host(batches: Iterator[tuple[Tensor, ...]]) -> Iterator[tuple[Tensor, ...]]:
    """Yield the batches on the host; each is copied while the GPU computes the next one."""
    pending: deque[tuple[torch.cuda.Event, tuple[Tensor, ...]]] = deque()
    for batch in batches:
        copies = tuple(torch.empty(part.shape, dtype=part.dtype, pin_memory=True) for part in batch)
        for copy, part in zip(copies, batch, strict=True):
            copy.copy_(part, non_blocking=True)
        event = torch.cuda.Event(blocking=True)  # a spinning wait would take a core from the writers
        event.record()
        pending.append((event, copies))
        if len(pending) > 1:
            yield _completed(pending)
    while pending:
        yield _completed(pending)


def _completed(pending: deque[tuple[torch.cuda.Event, tuple[Tensor, ...]]]) -> tuple[Tensor, ...]:
    event, copies = pending.popleft()
    event.synchronize()
    return copies
