"""Synthetic clips whose grey level encodes the frame index."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

LEVEL = 3  # grey levels from one frame of a ramp to the next


def ramp(count: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """Return grey frames; frame i has level 3 i."""
    return [np.full((height, width, 3), LEVEL * number, np.uint8) for number in range(count)]


def ramp_indices(frames: Iterable[np.ndarray]) -> list[int]:
    """Return the indices of the frames of a ramp."""
    return [round(float(frame.mean()) / LEVEL) for frame in frames]
