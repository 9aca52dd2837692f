"""Thin-Plate-Spline Motion Model: key point detector, dense motion, inpainting and animation-via-disentanglement.

Zhao and Zhang, CVPR 2022, arXiv 2203.14367. Names and shapes of parameters are those of the official checkpoints.
Images are RGB in 0..1, coordinates (x, y) in -1..1, the centres of the outermost pixels; grid_sample and the resizing
of flows follow the same convention (``align_corners=True``) throughout.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepfakemnist.animate.fomm.blocks import (
    AntiAliasDownsample,
    DownBlock,
    Hourglass,
    ResidualBlock,
    SameBlock,
    UpBlock,
    coordinate_grid,
)
from deepfakemnist.animate.fomm.keypoint_maps import keypoint_gaussians
from deepfakemnist.animate.tpsmm.resnet import ResNet18
from deepfakemnist.animate.tpsmm.splines import evaluate, fit_splines

#: Control points of a spline.
SPLINE_POINTS = 5
#: Sides of the images that a ResNet-18 halves five times.
_RESNET_MULTIPLE = 32

instance_norm = partial(nn.InstanceNorm2d, affine=True)


@dataclass(frozen=True)
class AvdArchitecture:
    """Sizes of the network for ``motion: avd``."""

    widths: tuple[int, ...] = (256, 512, 1024)
    id_size: int = 128
    pose_size: int = 128


@dataclass(frozen=True)
class Architecture:
    """Sizes of the networks; the defaults are those of the official vox-256. Read from weights, not from the config."""

    num_tps: int = 10
    """Splines."""
    keypoint_width: int = 64
    """Channels of the key point detector's first stage."""
    block_expansion: int = 64
    max_features: int = 512
    num_down_blocks: int = 3
    """These three: the inpainting network's."""
    dense_block_expansion: int = 64
    dense_max_features: int = 1024
    dense_num_blocks: int = 5
    """These three: the dense motion network's hourglass."""
    dense_reduction: int = 4
    """Image side divided by that of the dense motion; a power of two."""
    avd: AvdArchitecture | None = AvdArchitecture()
    """None for weights without that network."""

    @property
    def size_multiple(self) -> int:
        """Factor that must divide height and width of images, e.g. 128 for vox-256."""
        return math.lcm(_RESNET_MULTIPLE, self.dense_reduction * 2**self.dense_num_blocks, 2**self.num_down_blocks)

    @property
    def num_kp(self) -> int:
        """Key points of all splines."""
        return SPLINE_POINTS * self.num_tps


class EncodedSource(NamedTuple):
    """What does not depend on the driver, computed once for all animated frames."""

    image: Tensor
    """(B, 3, H, W)."""
    small: Tensor
    """(B, 3, h, w): image at the resolution of dense motion."""
    heat: Tensor
    """(B, K, h, w): Gaussians at the source's key points."""
    features: tuple[Tensor, ...]
    """Features of the image, (B, C, H/2^i, W/2^i), finest first."""

    def repeated(self, count: int) -> EncodedSource:
        """Return views of a single source for ``count`` frames, without a copy."""
        image, small, heat, *features = (
            part.expand(count, -1, -1, -1) for part in (self.image, self.small, self.heat, *self.features)
        )
        return EncodedSource(image, small, heat, tuple(features))


class DenseMotion(NamedTuple):
    """Backward optical flow from the animated frame to the source, and where the source is visible."""

    masks: Tensor
    """(B, S+1, h, w) weight of each motion, the static background first."""
    deformation: Tensor
    """(B, h, w, 2) coordinates in the source."""
    occlusion: list[Tensor]
    """(B, 1, h', w') for each level of the inpainting network, coarsest first: 1 where the source is visible."""


class KeypointDetector(nn.Module):
    """Unsupervised detector of the control points of the splines."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.fg_encoder = ResNet18(2 * architecture.num_kp, architecture.keypoint_width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) → (B, K, 2); the points of a spline are adjacent."""
        points: Tensor = torch.sigmoid(self.fg_encoder(x)) * 2 - 1
        return points.view(len(x), -1, 2)


class DenseMotionNetwork(nn.Module):
    """Blends the motions of all splines, and estimates occlusion at several resolutions."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        motions, ups = architecture.num_tps + 1, int(math.log2(architecture.dense_reduction))
        self.down = AntiAliasDownsample(3, 1 / architecture.dense_reduction)
        self.hourglass = Hourglass(
            architecture.num_kp + 1 + 3 * motions,
            architecture.dense_block_expansion,
            architecture.dense_max_features,
            architecture.dense_num_blocks,
            instance_norm,
        )
        finest = self.hourglass.out_channels
        self.maps = nn.Conv2d(finest, motions, 7, padding=3)
        widths = [finest // 2**i for i in range(ups + 1)]
        self.up = nn.ModuleList(UpBlock(*pair, norm=instance_norm) for pair in pairwise(widths))
        # One map for each level of the inpainting network: the first ones from outputs of the hourglass, the finest
        # ones from further upsampling.
        self._from_hourglass = architecture.num_down_blocks + 1 - ups
        coarse = [
            2 * min(architecture.dense_max_features, architecture.dense_block_expansion * 2**i)
            for i in range(self._from_hourglass - 1, 0, -1)
        ]
        self.occlusion = nn.ModuleList(nn.Conv2d(width, 1, 7, padding=3) for width in [*coarse, *widths])

    def forward(self, encoded: EncodedSource, source: Tensor, driving: Tensor) -> DenseMotion:
        """Encoded source, key points (B, K, 2) of source and driving frame → motion."""
        motions = self.motions(encoded.small, source, driving)
        inputs = torch.cat([self.heat(encoded, driving), self.deformed(encoded.small, motions).flatten(1, 2)], dim=1)
        levels = self.hourglass.encoder(inputs.contiguous(memory_format=torch.channels_last))
        outputs = self.hourglass.decoder.outputs(levels)
        masks = torch.softmax(self.maps(outputs[-1]), dim=1)
        deformation = (masks[..., None] * motions).sum(1)
        outputs = outputs[len(outputs) - self._from_hourglass :]
        for block in self.up:
            outputs.append(block(outputs[-1]))
        occlusion = [torch.sigmoid(head(out)) for head, out in zip(self.occlusion, outputs, strict=True)]
        return DenseMotion(masks, deformation, occlusion)

    @staticmethod
    def motions(small: Tensor, source: Tensor, driving: Tensor) -> Tensor:
        """Return (B, S+1, h, w, 2): the identity, then each spline from driving to source coordinates."""
        grid = _grid_of(small)
        splines = fit_splines(*(points.unflatten(1, (-1, SPLINE_POINTS)) for points in (driving, source)))
        bent = evaluate(splines, grid)
        return torch.cat([grid.expand(len(bent), 1, *grid.shape), bent], dim=1)

    @staticmethod
    def heat(encoded: EncodedSource, driving: Tensor) -> Tensor:
        """Return (B, K+1, h, w): an empty map, then the Gaussian of each driving minus that of the source's point."""
        grid = _grid_of(encoded.small)
        return F.pad(keypoint_gaussians(grid, driving) - encoded.heat, (0, 0, 0, 0, 1, 0))

    @staticmethod
    def deformed(small: Tensor, motions: Tensor) -> Tensor:
        """Return (B, S+1, 3, h, w): the small image, sampled by each motion."""
        batch, count, height, width, _ = motions.shape
        # One tall grid samples all motions from a single copy of the image.
        sampled = _sample(small, motions.reshape(batch, count * height, width, 2))
        return sampled.unflatten(2, (count, height)).transpose(1, 2)


class InpaintingNetwork(nn.Module):
    """Warps the source's features at every level and paints what it does not show."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        width, count = architecture.block_expansion, architecture.num_down_blocks
        widths = [min(architecture.max_features, width * 2**i) for i in range(count + 1)]
        self.first = SameBlock(3, width, kernel=7, norm=instance_norm)
        self.down_blocks = nn.ModuleList(DownBlock(*pair, norm=instance_norm) for pair in pairwise(widths))
        self.resblock, self.up_blocks = nn.ModuleList(), nn.ModuleList()
        for i in range(count, 0, -1):
            # All levels but the deepest join what is painted to what is warped.
            inputs = widths[i] if i == count else 2 * widths[i]
            self.resblock.extend(ResidualBlock(inputs, norm=instance_norm) for _ in range(2))
            self.up_blocks.append(UpBlock(inputs, widths[i - 1], norm=instance_norm))
        self.final = nn.Conv2d(width, 3, 7, padding=3)

    def encode(self, image: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) → features of every level, finest first."""
        levels = [self.first(image)]
        for block in self.down_blocks:
            levels.append(block(levels[-1]))
        return tuple(levels)

    def decode(self, encoded: EncodedSource, motion: DenseMotion) -> Tensor:
        """Return the animated image (B, 3, H, W) in 0..1."""
        features = encoded.features[::-1]
        out = warp(features[0], motion.deformation) * motion.occlusion[0]
        for i, up in enumerate(self.up_blocks):
            for block in self.resblock[2 * i : 2 * i + 2]:
                out = block(out)
            out = up(out)
            visible = warp(features[i + 1], motion.deformation) * motion.occlusion[i + 1]
            if i + 1 < len(self.up_blocks):
                out = torch.cat([out, visible.to(out.dtype)], dim=1)
        finest = motion.occlusion[-1]
        out = torch.addcmul(visible, out, 1 - finest)
        image = torch.sigmoid(self.final(out).float())
        return torch.addcmul(warp(encoded.image, motion.deformation) * finest, image, 1 - finest)


class AvdNetwork(nn.Module):
    """Animation via disentanglement: key points of the driver's pose with the source's shape."""

    def __init__(self, num_kp: int, architecture: AvdArchitecture) -> None:
        super().__init__()
        widths, codes = architecture.widths, architecture.id_size + architecture.pose_size
        self.id_encoder = _perceptron(2 * num_kp, *widths, architecture.id_size)
        self.pose_encoder = _perceptron(2 * num_kp, *widths, architecture.pose_size)
        self.decoder = _perceptron(codes, *reversed(widths), 2 * num_kp)

    def forward(self, source: Tensor, driving: Tensor) -> Tensor:
        """Key points (1, K, 2) of the source and (T, K, 2) of the driver → (T, K, 2), which may leave -1..1."""
        pose, identity = self.pose_encoder(driving.flatten(1)), self.id_encoder(source.flatten(1))
        points: Tensor = self.decoder(torch.cat([pose, identity.expand(len(pose), -1)], dim=1))
        return points.view_as(driving)


class ThinPlateSplineMotionModel(nn.Module):
    """All networks, under the names of the official checkpoints."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.kp_detector = KeypointDetector(architecture)
        self.dense_motion_network = DenseMotionNetwork(architecture)
        self.inpainting_network = InpaintingNetwork(architecture)
        self.avd_network = None
        if architecture.avd is not None:
            self.avd_network = AvdNetwork(architecture.num_kp, architecture.avd)

    def encode(self, image: Tensor, keypoints: Tensor) -> EncodedSource:
        """Image (B, 3, H, W) and its key points (B, K, 2) → encoded source."""
        small = self.dense_motion_network.down(image)
        heat = keypoint_gaussians(_grid_of(small), keypoints)
        return EncodedSource(image, small, heat, self.inpainting_network.encode(image))

    def forward(self, encoded: EncodedSource, source: Tensor, driving: Tensor) -> Tensor:
        """Animate a source with its key points (B, K, 2) to the driving ones (B, K, 2) → (B, 3, H, W) in 0..1."""
        return self.inpainting_network.decode(encoded, self.dense_motion_network(encoded, source, driving))


def warp(features: Tensor, flow: Tensor) -> Tensor:
    """Return features (B, C, H, W) sampled by a flow (B, h, w, 2), which is resized to their size."""
    size = features.shape[-2:]
    if flow.shape[1:3] != size:
        resized = F.interpolate(flow.permute(0, 3, 1, 2), size=size, mode="bilinear", align_corners=True)
        flow = resized.permute(0, 2, 3, 1)
    return _sample(features, flow)


def _grid_of(maps: Tensor) -> Tensor:
    height, width = maps.shape[-2:]
    return coordinate_grid(height, width, maps)


def _sample(image: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="zeros", align_corners=True)


def _perceptron(*widths: int) -> nn.Sequential:
    """Return linear layers, with batch norm and ReLU between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-2])
