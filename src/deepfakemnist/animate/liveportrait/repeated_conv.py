"""Padded 3×3 convolution of a map enlarged by repetition, computed once per distinct value.

Where every pixel repeats n × n times, the taps of a kernel that fall on copies of one pixel add up. A row of n copies
has three kinds of result: the first copy sees the pixel before, the last the pixel after, those between neither.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def repeated_conv(maps: Tensor, weight: Tensor, bias: Tensor, times: int) -> Tensor:
    """Return ``conv2d(interpolate(maps, scale_factor=times, mode="nearest"), weight, bias, padding=1)``.

    Args:
        maps: (B, in, H, W).
        weight: (out, in, 3, 3).
        bias: (out,).
        times: enlargement; 1 is the convolution itself.

    Returns: (B, out, times·H, times·W), equal up to rounding. Of 9·times² products per pixel 16 remain with 2 and 25
        with more.
    """
    if times == 1:
        return F.conv2d(maps, weight, bias, padding=1)
    batch, _, height, width = maps.shape
    out: Tensor | None = None
    for rows, tall, above in _kinds(weight, times, dim=2):
        for columns, kernel, left in _kinds(tall, times, dim=3):
            padding = (kernel.shape[2] - 1, kernel.shape[3] - 1)
            made = F.conv2d(maps, kernel, bias, padding=padding)
            # A kernel of two taps gives one row more than there are pixels: the first or the last is not needed.
            made = made[:, :, padding[0] - above :, padding[1] - left :][:, :, :height, :width]
            if out is None:  # of the type that autocast chose
                out = made.new_empty(batch, len(weight), height, times, width, times)
            out[:, :, :, rows, :, columns] = made[:, :, :, None, :, None]
    assert out is not None
    return out.flatten(4, 5).flatten(2, 3)


def _kinds(weight: Tensor, times: int, dim: int) -> list[tuple[slice, Tensor, int]]:
    """Return copies of a pixel along a dimension, the kernel that gives them, and whether it sees the pixel before."""
    first, second, third = weight.split(1, dim)
    kinds = [
        (slice(0, 1), torch.cat([first, second + third], dim), 1),
        (slice(times - 1, times), torch.cat([first + second, third], dim), 0),
    ]
    if times > 2:
        kinds.append((slice(1, times - 1), first + second + third, 0))
    return kinds
