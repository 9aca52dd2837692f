"""Patch discriminator for adversarial training (vox-adv-256): classifies patches of driving and animated frames.

Parameter names and shapes match the entry ``discriminator`` of the official checkpoints.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepfakemnist.animate.checkpoints import load_into
from deepfakemnist.animate.fomm.blocks import coordinate_grid
from deepfakemnist.animate.fomm.keypoint_maps import keypoint_gaussians
from deepfakemnist.config.animators.fomm import DiscriminatorModel
from deepfakemnist.errors import ConfigError

log = logging.getLogger(__name__)

_KERNEL = 4
_SLOPE = 0.2


class DiscriminatorBlock(nn.Module):
    """Unpadded convolution, instance norm, leaky ReLU and, except in the last block, pooling."""

    def __init__(self, in_channels: int, out_channels: int, normalise: bool, pool: bool, spectral_norm: bool) -> None:
        super().__init__()
        self.conv = _conv(in_channels, out_channels, _KERNEL, spectral_norm)
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
    """Scores patches of an image at one scale."""

    def __init__(self, model: DiscriminatorModel, num_kp: int, num_channels: int) -> None:
        super().__init__()
        self.use_keypoints = model.use_keypoints
        widths = [min(model.max_features, model.block_expansion * 2 ** (i + 1)) for i in range(model.num_blocks)]
        ins = [num_channels + num_kp * model.use_keypoints, *widths[:-1]]
        self.down_blocks = nn.ModuleList(
            DiscriminatorBlock(*pair, normalise=i > 0, pool=i < model.num_blocks - 1, spectral_norm=model.spectral_norm)
            for i, pair in enumerate(zip(ins, widths, strict=True))
        )
        self.conv = _conv(widths[-1], 1, 1, model.spectral_norm)

    def forward(self, image: Tensor, keypoints: Tensor) -> tuple[list[Tensor], Tensor]:
        """Image (B, 3, H, W) and driving keypoints (B, K, 2) → features of every block, scores (B, 1, h, w)."""
        out = image
        if self.use_keypoints:
            grid = coordinate_grid(image.shape[-2], image.shape[-1], keypoints)
            out = torch.cat([image, keypoint_gaussians(grid, keypoints)], dim=1)
        features: list[Tensor] = []
        for block in self.down_blocks:
            out = block(out)
            features.append(out)
        return features, self.conv(out)


class MultiScaleDiscriminator(nn.Module):
    """Container of the official checkpoints; vox-adv has a discriminator at full resolution only."""

    def __init__(self, model: DiscriminatorModel, num_kp: int, num_channels: int) -> None:
        super().__init__()
        self.discs = nn.ModuleDict({"1": Discriminator(model, num_kp, num_channels)})

    def forward(self, image: Tensor, keypoints: Tensor) -> tuple[list[Tensor], Tensor]:
        """See ``Discriminator``."""
        result: tuple[list[Tensor], Tensor] = self.discs["1"](image, keypoints)
        return result


def _conv(in_channels: int, out_channels: int, kernel: int, spectral_norm: bool) -> nn.Module:
    conv = nn.Conv2d(in_channels, out_channels, kernel)
    return nn.utils.spectral_norm(conv) if spectral_norm else conv


def load_discriminator(discriminator: MultiScaleDiscriminator, state: Mapping[str, Tensor], where: str) -> None:
    """Load the discriminator of a checkpoint, if it is of the same architecture; otherwise warn and change nothing.

    Args:
        discriminator: network to load into.
        state: entry ``discriminator`` of a checkpoint.
        where: subject of the warning, e.g. "animator weights vox-adv-cpk.pth.tar, discriminator".
    """
    own, its = (any(name.endswith("weight_orig") for name in names) for names in (discriminator.state_dict(), state))
    if own != its:
        found = "has spectral norm" if its else "has no spectral norm, as that of vox-adv-256"
        log.warning(
            "%s %s, so a new one is trained; set train.discriminator.spectral_norm to %s to use it",
            where,
            found,
            str(its).lower(),
        )
        return
    try:
        load_into(discriminator, state, where)
    except ConfigError as error:
        log.warning("%s; a new discriminator is trained", error)


def smallest_image(model: DiscriminatorModel) -> int:
    """Return the smallest side of an image: the last block must have 2×2 features for its instance norm."""
    side = 2
    for i in range(model.num_blocks):
        side = (side if i == 0 else 2 * side) + _KERNEL - 1
    return side


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Return the least-squares GAN loss of the discriminator: target scores are 1 for real, 0 for animated images."""
    return ((1 - real).square() + fake.square()).mean()


def generator_loss(fake: Tensor) -> Tensor:
    """Return the least-squares GAN loss of the generator: the target score is 1."""
    return (1 - fake).square().mean()


def feature_matching_loss(real: list[Tensor], fake: list[Tensor]) -> Tensor:
    """Return the sum over blocks of the mean absolute difference to the features of the real images."""
    return torch.stack([(r.detach() - f).abs().mean() for r, f in zip(real, fake, strict=True)]).sum()
