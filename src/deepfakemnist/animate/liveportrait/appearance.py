"""Appearance feature extractor of LivePortrait, F in the paper: a picture to a volume of features, once per source."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from deepfakemnist.animate.liveportrait.blocks import ConvBlock, DownBlock, ResidualBlock, as_volume


class AppearanceExtractor(nn.Module):
    """Encoder of a source picture.

    Args:
        widths: channels after the first convolution and after each halving.
        channels: of the volume.
        depth: of the volume.
        residuals: number of residual blocks.
    """

    def __init__(self, widths: Sequence[int], channels: int, depth: int, residuals: int) -> None:
        super().__init__()
        self.depth = depth
        self.first = ConvBlock(3, widths[0], 2)
        self.down_blocks = nn.ModuleList(DownBlock(narrow, wide, 2) for narrow, wide in pairwise(widths))
        self.second = nn.Conv2d(widths[-1], channels * depth, 1)
        blocks: OrderedDict[str, nn.Module] = OrderedDict(
            (f"3dr{i}", ResidualBlock(channels)) for i in range(residuals)
        )
        self.resblocks_3d = nn.Sequential(blocks)

    def forward(self, image: Tensor) -> Tensor:
        """RGB in 0..1 (B, 3, H, W) → volume (B, channels, depth, H/4, W/4) with two halvings."""
        features = self.first(image)
        for block in self.down_blocks:
            features = block(features)
        volume: Tensor = self.resblocks_3d(as_volume(self.second(features), self.depth))
        return volume
