"""The judge of realism of adversarial training (vox-adv-256): tells driving frames from animated ones, patch by patch.

Names and shapes of the parameters are those of the official checkpoints' entry ``discriminator``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepfakemnist.animate.fomm.blocks import coordinate_grid
from deepfakemnist.animate.fomm.keypoint_maps import keypoint_gaussians
from deepfakemnist.config.animator import DiscriminatorModel

_KERNEL = 4
_SLOPE = 0.2


class DiscriminatorBlock(nn.Module):
    """Unpadded convolution with spectral norm, instance norm, leaky ReLU and, but for the last block, pooling."""

    def __init__(self, in_channels: int, out_channels: int, normalise: bool, pool: bool) -> None:
        super().__init__()
        self.conv = nn.utils.spectral_norm(nn.Conv2d(in_channels, out_channels, _KERNEL))
        self.norm = nn.InstanceNorm2d(out_channels, affine=True) if normalise else None
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) → (B, out, H - 3, W - 3), halved where the block pools."""
        out = self.conv(x)
        if self.norm is not None:
            out = self.norm(out)
        out = F.leaky_relu(out, _SLOPE)
        return F.avg_pool2d(out, 2) if self.pool else out


class Discriminator(nn.Module):
    """Judges patches of a picture at one scale."""

    def __init__(self, model: DiscriminatorModel, num_kp: int, num_channels: int) -> None:
        super().__init__()
        self.use_keypoints = model.use_keypoints
        widths = [min(model.max_features, model.block_expansion * 2 ** (i + 1)) for i in range(model.num_blocks)]
        ins = [num_channels + num_kp * model.use_keypoints, *widths[:-1]]
        self.down_blocks = nn.ModuleList(
            DiscriminatorBlock(*pair, normalise=i > 0, pool=i < model.num_blocks - 1)
            for i, pair in enumerate(zip(ins, widths, strict=True))
        )
        self.conv = nn.utils.spectral_norm(nn.Conv2d(widths[-1], 1, 1))

    def forward(self, picture: Tensor, keypoints: Tensor) -> tuple[list[Tensor], Tensor]:
        """Picture (B, 3, H, W) and driving keypoints (B, K, 2) → features of every block, verdicts (B, 1, h, w)."""
        out = picture
        if self.use_keypoints:
            grid = coordinate_grid(picture.shape[-2], picture.shape[-1], keypoints)
            out = torch.cat([picture, keypoint_gaussians(grid, keypoints)], dim=1)
        features: list[Tensor] = []
        for block in self.down_blocks:
            out = block(out)
            features.append(out)
        return features, self.conv(out)


class MultiScaleDiscriminator(nn.Module):
    """The official container; vox-adv judges at full resolution only."""

    def __init__(self, model: DiscriminatorModel, num_kp: int, num_channels: int) -> None:
        super().__init__()
        self.discs = nn.ModuleDict({"1": Discriminator(model, num_kp, num_channels)})

    def forward(self, picture: Tensor, keypoints: Tensor) -> tuple[list[Tensor], Tensor]:
        """See ``Discriminator``."""
        result: tuple[list[Tensor], Tensor] = self.discs["1"](picture, keypoints)
        return result


def smallest_picture(model: DiscriminatorModel) -> int:
    """Return the smallest side of a picture: the last block must have 2×2 features, since it normalises over them."""
    side = 2
    for i in range(model.num_blocks):
        side = (side if i == 0 else 2 * side) + _KERNEL - 1
    return side


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Least-squares GAN: verdicts on real pictures are to be 1, on animated ones 0."""
    return ((1 - real).square() + fake.square()).mean()


def generator_loss(fake: Tensor) -> Tensor:
    """Least-squares GAN: the generator wants verdicts of 1."""
    return (1 - fake).square().mean()


def feature_matching_loss(real: list[Tensor], fake: list[Tensor]) -> Tensor:
    """Sum over blocks of the mean absolute difference of features; those of real pictures are the target."""
    return torch.stack([(r.detach() - f).abs().mean() for r, f in zip(real, fake, strict=True)]).sum()
