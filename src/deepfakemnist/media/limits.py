"""Limits on the size, length and memory of video from outside, which may have been made to exhaust the machine.

A header costs its author nothing: 100 bytes state a picture of 250 megapixels or an index of a billion frames. So the
sizes are compared with the limits before anything is decoded and at every frame, and the memory of the process is
bounded by the operating system, because decoders and demuxers allocate what a header states before one can look.
"""

from __future__ import annotations

import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from deepfakemnist.config.base import MediaLimits
from deepfakemnist.errors import Rejected

_CURRENT: ContextVar[MediaLimits | None] = ContextVar("limits", default=None)
_MEGABYTE = 1 << 20
#: Address space that is reserved without being used, such as that of an allocator's arena.
_SLACK_MB = 192
_RAISE = "convert the video first, or raise the limit if you trust it (sources.limits; see config/README.md)"


@contextmanager
def limited(limits: MediaLimits, path: Path | str) -> Iterator[None]:
    """Apply limits to whatever is decoded in the block, by this thread.

    Args:
        limits: see ``MediaLimits``. Memory is what the process takes beyond what it has now, times its threads here.
        path: the file, for the message.

    Raises: Rejected with reason over_limit.
    """
    token = _CURRENT.set(limits)
    try:
        with _MEMORY.bounded(limits.memory_mb):
            yield
    except MemoryError:
        raise Rejected(
            "over_limit",
            f"{path}: decoding it takes more than the {limits.memory_mb} MB of limits.memory_mb; {_RAISE}",
        ) from None
    finally:
        _CURRENT.reset(token)


def check_size(path: Path, width: int, height: int) -> None:
    """Raise Rejected with reason over_limit when a picture has too many pixels."""
    limits = _CURRENT.get()
    if limits and width * height > limits.pixels:
        raise Rejected(
            "over_limit",
            f"{path}: pictures of {width}x{height} = {width * height} pixels; limits.pixels is {limits.pixels}; "
            f"{_RAISE}",
        )


def check_length(path: Path, frames: int, seconds: float = 0.0) -> None:
    """Raise Rejected with reason over_limit when a video has too many frames, or lasts too long."""
    limits = _CURRENT.get()
    if limits and frames > limits.frames:
        raise Rejected("over_limit", f"{path}: more than {limits.frames} frames, as limits.frames allows; {_RAISE}")
    if limits and seconds > limits.seconds:
        raise Rejected(
            "over_limit",
            f"{path}: a frame at {seconds:.0f} s; limits.seconds is {limits.seconds:g}; name segments by start_s and "
            f"end_s, or {_RAISE}",
        )


def check_memory(picture_bytes: int) -> None:
    """Raise MemoryError when another picture would exceed the limit: decoders call a lack of memory invalid data."""
    if _CURRENT.get() and _MEMORY.left() < 2 * picture_bytes + _SLACK_MB // 4 * _MEGABYTE:
        raise MemoryError


def decoder_options() -> dict[str, str]:
    """Return options of FFmpeg's decoders, which refuse larger pictures before they allocate them."""
    limits = _CURRENT.get()
    return {"max_pixels": str(limits.pixels)} if limits else {}


class _Memory:
    """Bound on the address space of the process, as long as a block of any thread runs; none where it is not known."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks: list[int] = []
        self._before = 0
        self._limits = (0, 0)

    @contextmanager
    def bounded(self, megabytes: int) -> Iterator[None]:
        """Allow so much more than there was when the first block began, for each block."""
        with self._lock:
            if not self._blocks:
                self._before, self._limits = _address_space(), resource.getrlimit(resource.RLIMIT_AS)
            self._blocks.append(megabytes)
            self._apply()
        try:
            yield
        finally:
            with self._lock:
                self._blocks.remove(megabytes)
                self._apply()

    def left(self) -> float:
        """Return how many bytes of address space may still be taken; infinite where nothing is bounded."""
        soft = resource.getrlimit(resource.RLIMIT_AS)[0]
        return soft - _address_space() if self._blocks and soft != resource.RLIM_INFINITY else float("inf")

    def _apply(self) -> None:
        soft, hard = self._limits
        if self._blocks and self._before:
            wanted = self._before + (sum(self._blocks) + _SLACK_MB) * _MEGABYTE
            known = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
            soft = min([wanted, *known])
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _address_space() -> int:
    """Return the size of this process's address space, bytes; 0 where the system does not tell, as on macOS."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError):
        return 0
    return pages * resource.getpagesize()


_MEMORY = _Memory()
