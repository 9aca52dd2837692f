"""Float32 convolutions on CUDA as matrix products, which cuBLAS computes twice as fast as cuDNN convolves.

In channels-last memory a zero-padded image is a matrix with one row per pixel, and a shifted image is a slice of its
rows. A 3×3 convolution is then the sum of nine products, one per tap, and no patch is copied. Measured on an H200
(benchmarks/gpu.json), where cuDNN's deterministic float32 kernels give 25 TFLOP/s, its transposed convolutions less,
and cuBLAS 51.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepfakemnist.animate.fomm.winograd import INPUT, OUTPUT, transform_kernel

#: Up to this side, patches are copied for a single product, because padding would double the rows of small images.
_SMALL_SIDE = 8
#: Below this number of input channels, products are too narrow, and cuDNN is as fast.
_LEAST_CHANNELS = 16
#: Taps of a 3×3 kernel by their phases (2·row + column of the output pixel in its 2×2 square). Groups of phases are
#: adjacent in memory, so one product covers them.
_PHASES_OF_TAPS = {
    4: [range(4)],
    1: [range(2)],
    7: [range(2, 4)],
    3: [range(1), range(2, 3)],
    5: [range(1, 2), range(3, 4)],
    0: [range(1)],
    2: [range(1, 2)],
    6: [range(2, 3)],
    8: [range(3, 4)],
}


class _Product(NamedTuple):
    """Product of an image, shifted by a tap of a 3×3 kernel, with a weight; added to some columns of the output."""

    tap: int
    weight: Tensor
    columns: slice


class MatrixConv(nn.Module):
    """3×3 convolution with a padding of 1 and an optional ReLU.

    Args:
        weight: (out, in, 3, 3), float32.
        bias: (out,), float32.
        relu: whether ReLU follows.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, *, relu: bool) -> None:
        super().__init__()
        self.register_buffer("weight", weight.permute(2, 3, 1, 0).flatten(0, 1).contiguous())
        self.register_buffer("bias", bias)
        self.relu = relu

    @staticmethod
    def takes(weight: Tensor) -> bool:
        """Return whether a convolution with this weight is supported and gains."""
        return weight.shape[2:] == (3, 3) and weight.shape[1] >= _LEAST_CHANNELS

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) → (B, out, H, W)."""
        if max(x.shape[-2:]) <= _SMALL_SIDE:
            flat = torch.addmm(self.bias, _patches(x, range(9)), self.weight.flatten(0, 1))
            out = flat.unflatten(0, (len(x), *x.shape[-2:]))
        else:
            out = _sum_products(x, self.bias, [_Product(tap, self.weight[tap], slice(None)) for tap in range(9)])
        out = out.permute(0, 3, 1, 2)
        return F.relu_(out) if self.relu else out


class MatrixUp(nn.Module):
    """2× nearest-neighbour upsampling, 3×3 convolution and optional ReLU: four 2×2 convolutions of the small image.

    Args:
        weight: (out, in, 3, 3), float32.
        bias: (out,), float32.
        relu: whether ReLU follows.
    """

    by_phase: Tensor
    by_tap: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, *, relu: bool = True) -> None:
        super().__init__()
        self.relu = relu
        outputs, inputs = weight.shape[:2]
        by_phase = torch.stack([sum_taps(weight, *divmod(phase, 2)).permute(2, 3, 1, 0) for phase in range(4)])
        by_tap = torch.zeros(9, inputs, 4, outputs, dtype=weight.dtype, device=weight.device)
        for phase in range(4):
            by_tap[_taps_of_phase(phase), :, phase] = by_phase[phase].flatten(0, 1)
        self.register_buffer("by_phase", by_phase.flatten(1, 3).contiguous())
        self.register_buffer("by_tap", by_tap.flatten(2))
        self.register_buffer("bias", bias.repeat(4))

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) → (B, out, 2H, 2W), channels last."""
        batch, _, height, width = x.shape
        outputs = len(self.bias) // 4
        if max(height, width) <= _SMALL_SIDE:
            out = x.new_empty(batch, height, 2, width, 2, outputs)
            for phase in range(4):
                patches = _patches(x, _taps_of_phase(phase))
                part = torch.addmm(self.bias[:outputs], patches, self.by_phase[phase])
                out[:, :, phase // 2, :, phase % 2] = part.unflatten(0, (batch, height, width))
        else:
            products = []
            for tap, groups in _PHASES_OF_TAPS.items():
                for phases in groups:
                    columns = slice(phases.start * outputs, phases.stop * outputs)
                    products.append(_Product(tap, self.by_tap[tap, :, columns], columns))
            squares = _sum_products(x, self.bias, products).unflatten(3, (2, 2, outputs))
            out = squares.permute(0, 1, 3, 2, 4, 5).contiguous()
        out = out.view(batch, 2 * height, 2 * width, outputs).permute(0, 3, 1, 2)
        return F.relu_(out) if self.relu else out


class MatrixWinograd(nn.Module):
    """3×3 convolution with a padding of 1 and an optional ReLU by Winograd F(4×4, 3×3), see ``winograd``.

    A quarter of the products of ``MatrixConv``, for many channels. The transforms are matrix products too.

    Args: as of ``MatrixConv``.
    """

    weight: Tensor
    bias: Tensor
    into: Tensor
    back: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, *, relu: bool) -> None:
        super().__init__()
        self.register_buffer("weight", transform_kernel(weight.cpu()).to(weight.device))
        self.register_buffer("bias", bias)
        for name, transform in (("into", INPUT), ("back", OUTPUT)):
            self.register_buffer(name, torch.kron(*[torch.from_numpy(transform).float()] * 2).to(weight.device))
        self.relu = relu

    @staticmethod
    def takes(weight: Tensor) -> bool:
        """Return whether a convolution with this weight is supported and gains."""
        return weight.shape[2:] == (3, 3) and min(weight.shape[:2]) >= 128

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) → (B, out, H, W)."""
        batch, channels, height, width = x.shape
        rows, columns = -(-height // 4), -(-width // 4)
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1 + 4 * columns - width, 1, 1 + 4 * rows - height))
        tiles = padded.unfold(1, 6, 4).unfold(2, 6, 4).permute(4, 5, 0, 1, 2, 3).reshape(36, -1)
        values = (self.into @ tiles).view(36, -1, channels)
        products = torch.bmm(values, self.weight).view(36, -1)
        out = (self.back @ products).view(4, 4, batch, rows, columns, -1).permute(2, 3, 0, 4, 1, 5) + self.bias
        out = out.reshape(batch, 4 * rows, 4 * columns, -1)[:, :height, :width].permute(0, 3, 1, 2)
        return F.relu_(out) if self.relu else out


def sum_taps(weight: Tensor, i: int, j: int) -> Tensor:
    """(out, in, 3, 3) → (out, in, 2, 2) for output pixels in even or odd rows (``i``) and columns (``j``).

    After 2× nearest-neighbour upsampling the nine inputs of an output pixel have at most four distinct values; weights
    of equal inputs are summed.
    """
    rows = torch.stack([weight[:, :, : 1 + i].sum(2), weight[:, :, 1 + i :].sum(2)], dim=2)
    return torch.stack([rows[..., : 1 + j].sum(3), rows[..., 1 + j :].sum(3)], dim=3)


def _taps_of_phase(phase: int) -> list[int]:
    """Return the four taps of a 3×3 kernel around a pixel of the small image that a phase needs, row by row."""
    i, j = divmod(phase, 2)
    return [3 * (i + a) + j + b for a in (0, 1) for b in (0, 1)]


def _padded(x: Tensor) -> Tensor:
    """(B, C, H, W) → (B, H + 2, W + 2, C), contiguous."""
    return F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1)).contiguous()


def _patches(x: Tensor, taps: Iterable[int]) -> Tensor:
    """Return the inputs of the given taps for every pixel, (B·H·W, taps·C)."""
    padded, (height, width) = _padded(x), x.shape[-2:]
    shifted = [padded[:, tap // 3 : tap // 3 + height, tap % 3 : tap % 3 + width] for tap in taps]
    return torch.cat(shifted, dim=3).flatten(0, 2)


def _sum_products(x: Tensor, bias: Tensor, products: list[_Product]) -> Tensor:
    """Return bias + sum of the products, (B, H, W, columns), a view of a padded tensor.

    Args:
        x: (B, C, H, W).
        bias: (columns,).
        products: weights are (C, columns of the product); the first product covers all columns.
    """
    batch, channels, height, width = x.shape
    rows, line = _padded(x).view(-1, channels), width + 2
    margin = line + 1  # the first and last rows, all padding, lack a neighbour in some direction
    inner = len(rows) - 2 * margin
    out = torch.empty(len(rows), len(bias), dtype=x.dtype, device=x.device)
    for number, (tap, weight, columns) in enumerate(products):
        start = tap // 3 * line + tap % 3
        part = out[margin : margin + inner, columns]
        torch.addmm(part if number else bias, rows[start : start + inner], weight, out=part)
    return out.view(batch, height + 2, line, -1)[:, 1:-1, 1:-1]
