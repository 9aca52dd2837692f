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


#: Place of the first block of a number, distance between blocks, and their size: (down, across), pixels.
_FIRST, _PITCH, _BLOCK = (4, 4), (44, 24), (40, 22)


def numbered(count: int) -> list[np.ndarray]:
    """Return (96,128,3) frames that show their index: ten blocks in two rows, the first is bit 0, bright is 1.

    A moving pattern behind the blocks gives an encoder reason to use B-frames.
    """
    y, x = np.mgrid[0:96, 0:128]
    frames = []
    for number in range(count):
        frame = np.full((96, 128, 3), 16, np.uint8)
        frame[..., 2] = 40 + 20 * np.sin((x + y + 2 * number) / 9)
        for bit in range(10):
            if number >> bit & 1:
                top, left = (_FIRST[side] + _PITCH[side] * divmod(bit, 5)[side] for side in (0, 1))
                frame[top : top + _BLOCK[0], left : left + _BLOCK[1]] = 230
        frames.append(frame)
    return frames


def read_numbers(frames: Iterable[np.ndarray]) -> list[int]:
    """Return the numbers that the frames of :func:`numbered` show."""
    numbers = []
    for frame in frames:
        bright = [
            frame[_FIRST[0] + 20 + _PITCH[0] * (bit // 5), _FIRST[1] + 11 + _PITCH[1] * (bit % 5)].mean() > 128
            for bit in range(10)
        ]
        numbers.append(sum(1 << bit for bit in range(10) if bright[bit]))
    return numbers
