"""Winograd convolution F(4×4, 3×3) of residual blocks, in float32 on the CPU.

A tile of 4×4 outputs needs 36 products per pair of channels instead of 144 (Lavin and Gray, CVPR 2016, arXiv
1509.09308). BLAS computes them as 36 matrix products; the two transforms are compiled by numba and fuse the operations
around the convolution (batch norm, ReLU, bias, residual sum), which saves their passes over memory. For 256 channels at
64×64 this takes half the time of oneDNN's direct convolution on a Zen 4 core. Own code, because a library convolution
leaves those operations outside, and the same arithmetic in plain torch calls is memory-bound and slower than oneDNN.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]
from torch import Tensor, nn

Array = NDArray[np.float32]

#: Points of an input tile, 6×6 with a stride of 4.
_POINTS = 36
#: Channels processed at once. A constant, so that the compiler can rule out aliasing; the fastest of 16, 32, 64 and
#: 128.
_CHUNK = 128
_ROW = 6 * _CHUNK
#: What follows a convolution and its bias: ReLU, the sum with the block's input, or nothing.
RECTIFY, ADD, NOTHING = 0, 1, 2
#: Offset of the second half of the workspace.
_HALF = _POINTS * _CHUNK

#: Transforms of kernel (6, 3), input (6, 6) and output (4, 6) at the points 0, ±1, ±2 and infinity.
_KERNEL = np.array(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ]
)
INPUT = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
OUTPUT = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])


def compiled(function: Callable[..., None]) -> Any:
    """Compile at the first call. "contract" allows fused multiply-add but still propagates NaN."""
    options: dict[str, Any] = {"nogil": True, "fastmath": {"contract"}}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no writable cache folder: compile in every process
        return numba.njit(**options)(function)


class WinogradBlock(nn.Module, ABC):
    """Base of residual blocks of two convolutions that work on one image at a time.

    Channels must be a multiple of 128. The images of a batch are distributed over ``torch.get_num_threads()`` threads.
    """

    @staticmethod
    def takes(channels: int) -> bool:
        """Return whether blocks with that many channels are supported. Fewer than 128 would gain nothing."""
        return channels % _CHUNK == 0

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) float32 → the same shape, channels last in memory."""
        images = x.permute(0, 2, 3, 1).contiguous().numpy()
        out = np.empty_like(images)
        # BLAS threads would compete with these.
        with _blas().limit(limits=1, user_api="blas"):
            for_each_image(len(images), lambda index: self.block(images[index], out[index]))
        return torch.from_numpy(out).permute(0, 3, 1, 2)

    @abstractmethod
    def block(self, x: Array, out: Array) -> None:
        """Write the result of the image ``x`` (H, W, C) to ``out`` (H, W, C)."""


class WinogradResidual(WinogradBlock):
    """Residual block in evaluation: ``x + conv2(relu(norm2(conv1(relu(norm1(x))))))`` with norm2 folded into conv1.

    Args:
        scale: (C,) scale of norm1.
        shift: (C,) shift of norm1.
        conv1: weight (C, C, 3, 3) and bias (C,); padding is 1.
        conv2: the same.
    """

    scale: Tensor
    shift: Tensor
    weight1: Tensor
    weight2: Tensor
    bias1: Tensor
    bias2: Tensor

    def __init__(
        self, scale: Tensor, shift: Tensor, conv1: tuple[Tensor, Tensor], conv2: tuple[Tensor, Tensor]
    ) -> None:
        super().__init__()
        self.register_buffer("scale", scale.detach().float())
        self.register_buffer("shift", shift.detach().float())
        for number, (weight, bias) in ((1, conv1), (2, conv2)):
            self.register_buffer(f"weight{number}", transform_kernel(weight))
            self.register_buffer(f"bias{number}", bias.detach().float())

    def block(self, x: Array, out: Array) -> None:
        """Write the result of the image ``x`` (H, W, C) to ``out`` (H, W, C)."""
        values, products, hidden = scratch(x.shape)
        scale, shift = self.scale.numpy(), self.shift.numpy()
        transform_input(x, scale, shift, True, values)
        np.matmul(values, self.weight1.numpy(), out=products)
        transform_output(products, self.bias1.numpy(), x, RECTIFY, hidden)
        transform_input(hidden, scale, shift, False, values)
        np.matmul(values, self.weight2.numpy(), out=products)
        transform_output(products, self.bias2.numpy(), x, ADD, out)


def for_each_image(count: int, work: Callable[[int], None]) -> None:
    """Call ``work`` for each index below ``count``, in ``torch.get_num_threads()`` threads."""
    threads = min(torch.get_num_threads(), count)
    if threads <= 1:
        for index in range(count):
            work(index)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, range(count)))


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


def transform_kernel(weight: Tensor) -> Tensor:
    """(out, in, 3, 3) → (36, in, out) float32, computed in float64."""
    kernel = weight.detach().double().numpy()
    transformed = np.einsum("ar,oirs,bs->abio", _KERNEL, kernel, _KERNEL)
    return torch.from_numpy(transformed.reshape(_POINTS, *transformed.shape[2:]).astype(np.float32))


_local = threading.local()


def scratch(shape: tuple[int, ...]) -> tuple[Array, Array, Array]:
    """Return the workspace of this thread: values and products of all tiles (36, tiles, C), and an image of ``shape``.

    Allocating it per call would cost a tenth of the time in page faults.
    """
    if getattr(_local, "shape", None) != shape:
        height, width, channels = shape
        points = (_POINTS, -(-height // 4) * -(-width // 4), channels)
        _local.shape = shape
        _local.arrays = np.empty(points, np.float32), np.empty(points, np.float32), np.empty(shape, np.float32)
    arrays: tuple[Array, Array, Array] = _local.arrays
    return arrays


@compiled
def transform_input(x, scale, shift, normalise, values):  # type: ignore[no-untyped-def]
    """``x`` (H, W, C), zero-padded by 1 → ``values`` (36, tiles, C); applies relu(x·scale + shift) if ``normalise``."""
    height, width, channels = x.shape
    work = np.empty(2 * _HALF, np.float32)
    zero, two, four, five = np.float32(0), np.float32(2), np.float32(4), np.float32(5)
    columns = (width + 3) // 4
    for index in range((height + 3) // 4 * columns):
        top, left = index // columns * 4 - 1, index % columns * 4 - 1
        for start in range(0, channels, _CHUNK):
            part = slice(start, start + _CHUNK)
            factor, addend = scale[part], shift[part]
            for k in range(_POINTS):
                to = work[k * _CHUNK :]
                y, z = top + k // 6, left + k % 6
                if y < 0 or y >= height or z < 0 or z >= width:
                    for c in range(_CHUNK):
                        to[c] = zero
                    continue
                pixel = x[y, z, part]
                if normalise:
                    for c in range(_CHUNK):
                        value = pixel[c] * factor[c] + addend[c]
                        to[c] = zero if value < zero else value
                else:
                    for c in range(_CHUNK):
                        to[c] = pixel[c]
            for c in range(_ROW):  # down the columns
                a0, a1, a2 = work[c], work[c + _ROW], work[c + 2 * _ROW]
                a3, a4, a5 = work[c + 3 * _ROW], work[c + 4 * _ROW], work[c + 5 * _ROW]
                p, q, u, v = a4 - four * a2, a3 - four * a1, a4 - a2, two * (a3 - a1)
                work[c + _HALF] = four * a0 - five * a2 + a4
                work[c + _HALF + _ROW] = p + q
                work[c + _HALF + 2 * _ROW] = p - q
                work[c + _HALF + 3 * _ROW] = u + v
                work[c + _HALF + 4 * _ROW] = u - v
                work[c + _HALF + 5 * _ROW] = four * a1 - five * a3 + a5
            for r in range(6):  # along the rows
                row = work[r * _ROW :]
                for c in range(_CHUNK):
                    a0, a1, a2 = row[c + _HALF], row[c + _HALF + _CHUNK], row[c + _HALF + 2 * _CHUNK]
                    a3, a4, a5 = row[c + _HALF + 3 * _CHUNK], row[c + _HALF + 4 * _CHUNK], row[c + _HALF + 5 * _CHUNK]
                    p, q, u, v = a4 - four * a2, a3 - four * a1, a4 - a2, two * (a3 - a1)
                    row[c] = four * a0 - five * a2 + a4
                    row[c + _CHUNK] = p + q
                    row[c + 2 * _CHUNK] = p - q
                    row[c + 3 * _CHUNK] = u + v
                    row[c + 4 * _CHUNK] = u - v
                    row[c + 5 * _CHUNK] = four * a1 - five * a3 + a5
            for k in range(_POINTS):
                goal, point = values[k, index, part], work[k * _CHUNK :]
                for c in range(_CHUNK):
                    goal[c] = point[c]


@compiled
def transform_output(products, bias, residual, then, out):  # type: ignore[no-untyped-def]
    """``products`` (36, tiles, C) → ``out`` (H, W, C): plus bias; ``then`` ReLU, plus ``residual``, or nothing more."""
    height, width, channels = out.shape
    work = np.empty(2 * _HALF, np.float32)
    zero, two, four, eight = np.float32(0), np.float32(2), np.float32(4), np.float32(8)
    columns = (width + 3) // 4
    for index in range((height + 3) // 4 * columns):
        top, left = index // columns * 4, index % columns * 4
        for start in range(0, channels, _CHUNK):
            part = slice(start, start + _CHUNK)
            addend = bias[part]
            for k in range(_POINTS):
                product, to = products[k, index, part], work[k * _CHUNK :]
                for c in range(_CHUNK):
                    to[c] = product[c]
            for c in range(_ROW):  # down the columns
                a0, a1, a2 = work[c], work[c + _ROW], work[c + 2 * _ROW]
                a3, a4, a5 = work[c + 3 * _ROW], work[c + 4 * _ROW], work[c + 5 * _ROW]
                p, q, u, v = a1 + a2, a3 + a4, a1 - a2, a3 - a4
                work[c + _HALF] = a0 + p + q
                work[c + _HALF + _ROW] = u + two * v
                work[c + _HALF + 2 * _ROW] = p + four * q
                work[c + _HALF + 3 * _ROW] = u + eight * v + a5
            for r in range(min(4, height - top)):  # along the rows
                row = work[r * _ROW :]
                for c in range(_CHUNK):
                    a0, a1, a2 = row[c + _HALF], row[c + _HALF + _CHUNK], row[c + _HALF + 2 * _CHUNK]
                    a3, a4, a5 = row[c + _HALF + 3 * _CHUNK], row[c + _HALF + 4 * _CHUNK], row[c + _HALF + 5 * _CHUNK]
                    p, q, u, v = a1 + a2, a3 + a4, a1 - a2, a3 - a4
                    row[c] = a0 + p + q
                    row[c + _CHUNK] = u + two * v
                    row[c + 2 * _CHUNK] = p + four * q
                    row[c + 3 * _CHUNK] = u + eight * v + a5
                for s in range(min(4, width - left)):
                    value, goal = row[s * _CHUNK :], out[top + r, left + s, part]
                    if then == RECTIFY:
                        for c in range(_CHUNK):
                            total = value[c] + addend[c]
                            goal[c] = zero if total < zero else total
                    elif then == NOTHING:
                        for c in range(_CHUNK):
                            goal[c] = value[c] + addend[c]
                    else:
                        before = residual[top + r, left + s, part]
                        for c in range(_CHUNK):
                            goal[c] = value[c] + addend[c] + before[c]
