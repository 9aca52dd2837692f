"""Generator of LivePortrait, G in the paper: a SPADE decoder (Park et al., arXiv 1903.07291) from features to a frame.

The features serve as input and as the map that modulates every normalisation. Where a layer is larger than the map, the
map's pixels repeat; its convolution is then computed once per distinct value, which is exact and saves an eighth of the
generator.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepfakemnist.animate.liveportrait.repeated_conv import repeated_conv

_SLOPE = 0.2


class SpadeGenerator(nn.Module):
    """Paints a frame from warped features.

    Args:
        map_channels: of the features.
        width: channels of the middle blocks.
        middle: number of middle blocks.
        up: channels of the two blocks after an enlargement by 2.
        hidden: channels inside a modulation.
        upscale: enlargement at the end.
    """

    def __init__(
        self, map_channels: int, width: int, middle: int, up: Sequence[int], hidden: int, upscale: int
    ) -> None:
        super().__init__()
        self.fc = nn.Conv2d(map_channels, width, 3, padding=1)
        self.middle = middle
        for number in range(middle):
            self.add_module(f"G_middle_{number}", SpadeBlock(width, width, map_channels, hidden))
        self.up_0 = SpadeBlock(width, up[0], map_channels, hidden)
        self.up_1 = SpadeBlock(up[0], up[1], map_channels, hidden)
        self.conv_img = nn.Sequential(nn.Conv2d(up[1], 3 * upscale**2, 3, padding=1), nn.PixelShuffle(upscale))

    def forward(self, features: Tensor) -> Tensor:
        """(B, map_channels, H, W) → RGB in 0..1, (B, 3, 4·upscale·H, 4·upscale·W), float32."""
        x = self.fc(features)
        for number in range(self.middle):
            x = self.get_submodule(f"G_middle_{number}")(x, features)
        for block in (self.up_0, self.up_1):
            x = block(F.interpolate(x, scale_factor=2, mode="nearest"), features)
        logits: Tensor = self.conv_img(F.leaky_relu(x, _SLOPE))
        return torch.sigmoid(logits.float())


class SpadeBlock(nn.Module):
    """Residual block of two convolutions, each after a modulated normalisation."""

    def __init__(self, in_channels: int, out_channels: int, map_channels: int, hidden: int) -> None:
        super().__init__()
        between = min(in_channels, out_channels)
        self.conv_0 = nn.Conv2d(in_channels, between, 3, padding=1)
        self.conv_1 = nn.Conv2d(between, out_channels, 3, padding=1)
        self.norm_0 = SpadeNorm(in_channels, map_channels, hidden)
        self.norm_1 = SpadeNorm(between, map_channels, hidden)
        self.conv_s = self.norm_s = None
        if in_channels != out_channels:
            self.conv_s = nn.Conv2d(in_channels, out_channels, 1, bias=False)
            self.norm_s = SpadeNorm(in_channels, map_channels, hidden)

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        """(B, in, H, W) and the map (B, map_channels, h, w), H a multiple of h → (B, out, H, W)."""
        normalised = F.instance_norm(x)
        out = self.conv_0(F.leaky_relu_(self.norm_0(normalised, features), _SLOPE))
        out = self.conv_1(F.leaky_relu_(self.norm_1(F.instance_norm(out), features), _SLOPE))
        if self.conv_s is not None and self.norm_s is not None:
            x = self.conv_s(self.norm_s(normalised, features))
        return x + out


class SpadeNorm(nn.Module):
    """Scale and shift of normalised values, pixel by pixel, by a map."""

    def __init__(self, channels: int, map_channels: int, hidden: int) -> None:
        super().__init__()
        self.mlp_shared = nn.Sequential(nn.Conv2d(map_channels, hidden, 3, padding=1), nn.ReLU())
        self.mlp_gamma = nn.Conv2d(hidden, channels, 3, padding=1)
        self.mlp_beta = nn.Conv2d(hidden, channels, 3, padding=1)

    def forward(self, normalised: Tensor, features: Tensor) -> Tensor:
        """(B, channels, H, W) and the map (B, map_channels, h, w) → (B, channels, H, W)."""
        shared = self.mlp_shared[0]
        assert isinstance(shared, nn.Conv2d) and shared.bias is not None
        times = normalised.shape[-1] // features.shape[-1]
        hidden = F.relu_(repeated_conv(features, shared.weight, shared.bias, times))
        return torch.addcmul(self.mlp_beta(hidden), normalised, 1 + self.mlp_gamma(hidden))
