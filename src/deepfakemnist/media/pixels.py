"""Clip hash over decoded pixels, for reproducibility checks and deduplication.

A file hash would not do: two x264 builds write different bytes for the same frames, because the stream contains their
version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np


class PixelHash:
    """Incremental sha256 over frames."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self.frames = 0

    def update(self, frame: np.ndarray) -> None:
        """Add one frame, (H,W,3) uint8 RGB; its size is hashed too, so a reshaped clip has another hash."""
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise ValueError(f"a frame must be (H,W,3) uint8, not {frame.shape} {frame.dtype}")
        self._digest.update(b"%dx%d;" % (frame.shape[1], frame.shape[0]))
        self._digest.update(np.ascontiguousarray(frame).data)
        self.frames += 1

    def hexdigest(self) -> str:
        """Return the hash so far, 64 hex digits."""
        return self._digest.hexdigest()


def pixels_sha256(frames: Iterable[np.ndarray]) -> str:
    """Return the sha256 over ``frames``, each (H,W,3) uint8 RGB, in their order."""
    pixels = PixelHash()
    for frame in frames:
        pixels.update(frame)
    return pixels.hexdigest()
