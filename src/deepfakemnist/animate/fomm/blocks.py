"""Building blocks of the First Order Motion Model (Siarohin et al., NeurIPS 2019, arXiv 2003.00196).

Attribute names match the state_dict of the official checkpoints. Their synchronised batch norm is replaced by plain
``BatchNorm2d``, which is equivalent in evaluation and on one device. Networks that descend from FOMM build the same
blocks with another norm.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepfakemnist.errors import ConfigError

#: Number of channels → norm.
Norm = Callable[[int], nn.Module]


class SameBlock(nn.Module):
    """Convolution, norm and ReLU at constant resolution."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 3, norm: Norm = nn.BatchNorm2d) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2)
        self.norm = norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) → (B, out, H, W)."""
        return F.relu(self.norm(self.conv(x)))


class DownBlock(SameBlock):
    """A ``SameBlock`` followed by 2×2 average pooling."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) → (B, out, H/2, W/2)."""
        return F.avg_pool2d(super().forward(x), 2)


class UpBlock(SameBlock):
    """2× nearest-neighbour upsampling followed by a ``SameBlock``."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) → (B, out, 2H, 2W)."""
        return super().forward(F.interpolate(x, scale_factor=2, mode="nearest"))


class ResidualBlock(nn.Module):
    """Pre-activation residual block of two 3×3 convolutions."""

    def __init__(self, channels: int, norm: Norm = nn.BatchNorm2d) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm1 = norm(channels)
        self.norm2 = norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) → the same shape."""
        out = self.conv1(F.relu(self.norm1(x)))
        return x + self.conv2(F.relu(self.norm2(out)))


class HourglassEncoder(nn.Module):
    """Encoder that halves the resolution ``num_blocks`` times and returns every level."""

    def __init__(
        self, in_channels: int, block_expansion: int, max_features: int, num_blocks: int, norm: Norm = nn.BatchNorm2d
    ) -> None:
        super().__init__()
        widths = [in_channels, *(min(max_features, block_expansion * 2 ** (i + 1)) for i in range(num_blocks))]
        self.down_blocks = nn.ModuleList(DownBlock(*pair, norm=norm) for pair in pairwise(widths))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the input and the output of every block, finest first."""
        levels = [x]
        for block in self.down_blocks:
            levels.append(block(levels[-1]))
        return levels


class HourglassDecoder(nn.Module):
    """Decoder that doubles the resolution per block and concatenates the encoder level of that resolution."""

    def __init__(self, block_expansion: int, max_features: int, num_blocks: int, norm: Norm = nn.BatchNorm2d) -> None:
        super().__init__()
        blocks = []
        for i in reversed(range(num_blocks)):
            inputs = 1 if i == num_blocks - 1 else 2  # the deepest level has no skip connection
            in_channels = inputs * min(max_features, block_expansion * 2 ** (i + 1))
            blocks.append(UpBlock(in_channels, min(max_features, block_expansion * 2**i), norm=norm))
        self.up_blocks = nn.ModuleList(blocks)

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Encoder levels, finest first → features at the finest resolution."""
        return self.outputs(levels)[-1]

    def outputs(self, levels: list[Tensor]) -> list[Tensor]:
        """Encoder levels, finest first → the output of every block with its skip connection, finest last."""
        outputs, out = [], levels[-1]
        for block, skip in zip(self.up_blocks, reversed(levels[:-1]), strict=True):
            out = torch.cat([block(out), skip], dim=1)
            outputs.append(out)
        return outputs


class Hourglass(nn.Module):
    """U-Net whose last skip connection is the input, hence ``block_expansion + in_channels`` output channels."""

    def __init__(
        self, in_channels: int, block_expansion: int, max_features: int, num_blocks: int, norm: Norm = nn.BatchNorm2d
    ) -> None:
        super().__init__()
        self.encoder = HourglassEncoder(in_channels, block_expansion, max_features, num_blocks, norm)
        self.decoder = HourglassDecoder(block_expansion, max_features, num_blocks, norm)
        self.out_channels = min(max_features, block_expansion) + in_channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) → (B, out_channels, H, W); H and W must be multiples of 2**num_blocks."""
        out: Tensor = self.decoder(self.encoder(x))
        return out


class AntiAliasDownsample(nn.Module):
    """Gaussian blur and decimation in one strided depthwise convolution.

    The kernel is a buffer of the official checkpoints. Zero padding darkens the borders, as the weights expect.
    """

    weight: Tensor

    def __init__(self, channels: int, scale: float) -> None:
        super().__init__()
        self.stride = stride_of(scale)
        sigma = (1 / scale - 1) / 2
        size = 2 * round(4 * sigma) + 1
        position = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
        line = torch.exp(-(position**2) / (2 * sigma**2))
        kernel = torch.outer(line, line)
        self.register_buffer("weight", (kernel / kernel.sum()).expand(channels, 1, size, size).clone())

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) → (B, channels, H·scale, W·scale)."""
        return F.conv2d(x, self.weight, stride=self.stride, padding=self.weight.shape[-1] // 2, groups=x.shape[1])


def downsample(channels: int, scale: float) -> AntiAliasDownsample | nn.Identity:
    """Return the module that downsamples by ``scale``; without state at scale 1, like the official model."""
    return nn.Identity() if scale == 1 else AntiAliasDownsample(channels, scale)


def stride_of(scale: float) -> int:
    """Return 1/scale, e.g. 4 for 0.25. Raises ConfigError when it is not an integer."""
    stride = round(1 / scale)
    if stride < 1 or abs(stride * scale - 1) > 1e-6:
        raise ConfigError(f"scale_factor {scale} is not allowed: it must be 1, 0.5, 0.25 or another 1/n")
    return stride


def coordinate_grid(height: int, width: int, like: Tensor) -> Tensor:
    """Return (height, width, 2) coordinates (x, y); -1 and 1 are the centres of the outermost pixels."""
    x = torch.arange(width, dtype=like.dtype, device=like.device) * (2 / (width - 1)) - 1
    y = torch.arange(height, dtype=like.dtype, device=like.device) * (2 / (height - 1)) - 1
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)], dim=-1)
