"""Warping network of LivePortrait, W in the paper: the source's volume moved to the driver's pose, and projected.

Grids are made with aligned corners and sampled without, as in the original, so even the identity shifts the volume a
little; the weights were trained that way.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepfakemnist.animate.liveportrait.blocks import ConvBlock, DownBlock, UpBlock, folded

#: Variance of the Gaussian heat maps around keypoints.
_VARIANCE = 0.01
_HEAD_KERNEL = 7
_SLOPE = 0.01


class DenseMotion(NamedTuple):
    """Backward flow from the animated frame to the source."""

    mask: Tensor
    """(B, K+1, D, H, W) weight of each motion, the identity first."""
    flow: Tensor
    """(B, D, H, W, 3) coordinates (x, y, z) in the source's volume."""
    occlusion: Tensor
    """(B, 1, H, W): 1 where the source is visible."""


class WarpingNetwork(nn.Module):
    """Warps the source's volume by the motion between two sets of keypoints.

    Args:
        keypoints: K.
        channels: of the volume.
        depth: of the volume.
        compressed: channels of the volume that motion is estimated from.
        down: output channels of the hourglass' encoder, level by level.
        up: the same of its decoder.
        width: channels of the result.
    """

    def __init__(
        self,
        keypoints: int,
        channels: int,
        depth: int,
        compressed: int,
        down: Sequence[int],
        up: Sequence[int],
        width: int,
    ) -> None:
        super().__init__()
        self.dense_motion_network = DenseMotionNetwork(keypoints, channels, depth, compressed, down, up)
        self.third = ConvBlock(channels * depth, width, 2, slope=_SLOPE)
        self.fourth = nn.Conv2d(width, width, 1)

    def forward(self, volume: Tensor, source: Tensor, driving: Tensor) -> Tensor:
        """Volume (B, C, D, H, W), keypoints (B, K, 3) of the source and of the frame → features (B, width, H, W)."""
        motion = self.dense_motion_network(volume, source, driving)
        warped = sample(volume, motion.flow)
        features = self.fourth(self.third(warped.flatten(1, 2)))
        return features * motion.occlusion


class DenseMotionNetwork(nn.Module):
    """Blends the motions of the keypoints, and tells where the source shows nothing."""

    def __init__(
        self, keypoints: int, channels: int, depth: int, compressed: int, down: Sequence[int], up: Sequence[int]
    ) -> None:
        super().__init__()
        self.compress: nn.Module = nn.Conv3d(channels, compressed, 1)
        self.norm: nn.Module = nn.BatchNorm3d(compressed)
        evidence = (keypoints + 1) * (compressed + 1)
        self.hourglass = Hourglass(evidence, down, up)
        outputs = evidence + up[-1]
        self.mask = nn.Conv3d(outputs, keypoints + 1, _HEAD_KERNEL, padding=_HEAD_KERNEL // 2)
        self.occlusion = nn.Conv2d(outputs * depth, 1, _HEAD_KERNEL, padding=_HEAD_KERNEL // 2)

    def fold(self) -> None:
        """Fold the batch norm."""
        self.compress, self.norm = folded(self.compress, self.norm), nn.Identity()

    def forward(self, volume: Tensor, source: Tensor, driving: Tensor) -> DenseMotion:
        """Return the dense motion, see ``WarpingNetwork.forward``; coordinates stay in float32 under autocast."""
        grid = coordinate_grid(volume)
        shifts = (source - driving)[:, :, None, None, None]
        moved = grid + shifts
        motions = torch.cat([grid.expand(len(moved), 1, *grid.shape), moved], dim=1)
        features = self.hourglass(self._evidence(volume, grid, motions, source, driving))
        mask = self.mask(features).softmax(1)
        occlusion = torch.sigmoid(self.occlusion(features.flatten(1, 2)))
        with torch.autocast(volume.device.type, enabled=False):  # float16 coordinates are off by a quarter of a pixel
            flow = torch.einsum("bkdhw,bkdhwc->bdhwc", mask.to(motions.dtype), motions)
        return DenseMotion(mask, flow, occlusion)

    def _evidence(self, volume: Tensor, grid: Tensor, motions: Tensor, source: Tensor, driving: Tensor) -> Tensor:
        """Return the hourglass' input: for every motion a heat map and the volume moved by it."""
        small = F.relu(self.norm(self.compress(volume)))
        # One tall grid samples all motions from a single copy of the volume.
        moved = sample(small, motions.flatten(1, 2)).unflatten(2, motions.shape[1:3])
        heat = heat_maps(grid, driving) - heat_maps(grid, source)
        heat = F.pad(heat, (0, 0, 0, 0, 0, 0, 1, 0))  # the identity has no keypoint
        return torch.cat([heat[:, :, None].to(moved.dtype), moved.transpose(1, 2)], dim=2).flatten(1, 2)


class Hourglass(nn.Module):
    """Encoder and decoder with skips, and one more convolution at full size."""

    def __init__(self, in_channels: int, down: Sequence[int], up: Sequence[int]) -> None:
        super().__init__()
        self.encoder = HourglassEncoder(in_channels, down)
        self.decoder = HourglassDecoder([in_channels, *down], up)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, D, H, W) → (B, up[-1] + in, D, H, W)."""
        features: Tensor = self.decoder(self.encoder(x))
        return features


class HourglassEncoder(nn.Module):
    """Halves height and width level by level."""

    def __init__(self, in_channels: int, down: Sequence[int]) -> None:
        super().__init__()
        self.down_blocks = nn.ModuleList(
            DownBlock(first, second, 3) for first, second in pairwise([in_channels, *down])
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the input and the output of every block, finest first."""
        levels = [x]
        for block in self.down_blocks:
            levels.append(block(levels[-1]))
        return levels


class HourglassDecoder(nn.Module):
    """Enlarges level by level and joins what the encoder saw there."""

    def __init__(self, levels: Sequence[int], up: Sequence[int]) -> None:
        super().__init__()
        skips = levels[::-1][1:]
        inputs = [levels[-1], *(made + skip for made, skip in zip(up[:-1], skips[:-1], strict=True))]
        self.up_blocks = nn.ModuleList(UpBlock(first, second, 3) for first, second in zip(inputs, up, strict=True))
        outputs = up[-1] + skips[-1]
        self.conv: nn.Module = nn.Conv3d(outputs, outputs, 3, padding=1)
        self.norm: nn.Module = nn.BatchNorm3d(outputs)

    def fold(self) -> None:
        """Fold the batch norm of the last convolution."""
        self.conv, self.norm = folded(self.conv, self.norm), nn.Identity()

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Levels of the encoder, finest first → features of the finest."""
        *skips, x = levels
        for block, skip in zip(self.up_blocks, reversed(skips), strict=True):
            x = torch.cat([block(x), skip], dim=1)
        return F.relu(self.norm(self.conv(x)))


def coordinate_grid(volume: Tensor) -> Tensor:
    """Return (D, H, W, 3) coordinates (x, y, z) from -1 to 1, both ends included, float32."""
    z, y, x = (torch.linspace(-1, 1, size, device=volume.device) for size in volume.shape[-3:])
    return torch.stack([part.expand(volume.shape[-3:]) for part in (x, y[:, None], z[:, None, None])], dim=-1)


def heat_maps(grid: Tensor, keypoints: Tensor) -> Tensor:
    """Return Gaussians (B, K, D, H, W) around keypoints (B, K, 3)."""
    distance = (grid - keypoints[:, :, None, None, None]).square().sum(-1)
    return torch.exp(-distance / (2 * _VARIANCE))


def sample(volume: Tensor, grid: Tensor) -> Tensor:
    """Sample (B, C, D, H, W) at (B, d, h, w, 3): trilinear, zero outside, corners not aligned; float32 as the grid."""
    return F.grid_sample(volume.to(grid.dtype), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
