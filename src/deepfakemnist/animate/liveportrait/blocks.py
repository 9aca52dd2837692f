"""Convolution blocks of LivePortrait, with batch norm that folds into the convolutions.

Attribute names match the state dicts of the official files. Volumes are (B, C, D, H, W); the depth of the dense motion
network is never pooled.
"""

from __future__ import annotations

from typing import Literal, cast

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

_CONV: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
_NORM: dict[int, type[nn.BatchNorm2d] | type[nn.BatchNorm3d]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
#: Of a volume, height and width alone are reduced and enlarged.
_HALVED = (1, 2, 2)


class ConvBlock(nn.Module):
    """3×3 or 3×3×3 convolution, batch norm, and ReLU or, with a slope, leaky ReLU."""

    def __init__(self, in_channels: int, out_channels: int, dimensions: Literal[2, 3], slope: float = 0.0) -> None:
        super().__init__()
        self.conv: nn.Module = _CONV[dimensions](in_channels, out_channels, 3, padding=1)
        self.norm: nn.Module = _NORM[dimensions](out_channels)
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, ...) → (B, out, ...)."""
        x = self.norm(self.conv(x))
        return F.leaky_relu(x, self.slope) if self.slope else F.relu(x)

    def fold(self) -> None:
        """Fold the batch norm into the convolution; evaluation only."""
        self.conv, self.norm = folded(self.conv, self.norm), nn.Identity()


class DownBlock(ConvBlock):
    """A ``ConvBlock`` and mean pooling that halves height and width."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, ..., H, W) → (B, out, ..., H/2, W/2)."""
        x = super().forward(x)
        return F.avg_pool2d(x, 2) if x.ndim == 4 else F.avg_pool3d(x, _HALVED)


class UpBlock(ConvBlock):
    """Nearest-neighbour enlargement of height and width by 2, and a ``ConvBlock``."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, D, H, W) → (B, out, D, 2H, 2W)."""
        return super().forward(F.interpolate(x, scale_factor=_HALVED, mode="nearest"))


class ResidualBlock(nn.Module):
    """Pre-activation residual block of two 3×3×3 convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1: nn.Module = nn.Conv3d(channels, channels, 3, padding=1)
        self.conv2: nn.Module = nn.Conv3d(channels, channels, 3, padding=1)
        self.norm1: nn.Module = nn.BatchNorm3d(channels)
        self.norm2: nn.Module = nn.BatchNorm3d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, D, H, W) → the same shape."""
        out = self.conv1(F.relu(self.norm1(x)))
        return cast(Tensor, x + self.conv2(F.relu(self.norm2(out))))

    def fold(self) -> None:
        """Fold the second batch norm into the convolution before it; before the first one is none."""
        self.conv1, self.norm2 = folded(self.conv1, self.norm2), nn.Identity()


def folded(conv: nn.Module, norm: nn.Module) -> nn.Module:
    """Return ``norm(conv(x))`` in evaluation mode as one convolution; the same one if it was folded before."""
    if isinstance(norm, nn.Identity):
        return conv
    fused: nn.Module = fuse_conv_bn_eval(conv.eval(), norm.eval())  # type: ignore[type-var, arg-type]
    return fused


def fold_norms(network: nn.Module) -> None:
    """Fold the batch norms of a network wherever a convolution comes before them."""
    for module in network.modules():
        if module is not network and callable(fold := getattr(module, "fold", None)):
            fold()


def as_volume(maps: Tensor, depth: int) -> Tensor:
    """(B, C·D, H, W) → (B, C, D, H, W): channel c·D + d is depth d of channel c."""
    return maps.unflatten(1, (-1, depth))
