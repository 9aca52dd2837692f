"""First Order Motion Model: keypoint detector, dense motion network, occlusion-aware generator.

Siarohin et al., NeurIPS 2019, arXiv 2003.00196. Parameter names and shapes match the official checkpoints (vox-256),
which load unchanged. Images are RGB in 0..1, coordinates (x, y) in -1..1.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepfakemnist.animate.fomm.blocks import (
    DownBlock,
    Hourglass,
    ResidualBlock,
    SameBlock,
    UpBlock,
    coordinate_grid,
    downsample,
    stride_of,
)
from deepfakemnist.animate.fomm.keypoint_maps import inverse_distance_logits, keypoint_gaussians
from deepfakemnist.config.animators.fomm import FommModel, GeneratorModel, KeypointModel
from deepfakemnist.errors import ConfigError

#: With the full-resolution skip an untrained model copies the source, sigmoid(4) = 0.98, and learns where to inpaint.
#: Compared with an initial 0.5, 100 steps gave a held-out L1 of 0.037 instead of 0.054 on 5 real clips and no clear
#: difference on 11 (0.0100 and 0.0096); one seed each.
_SKIP_OCCLUSION_BIAS = 4.0


class Keypoints(NamedTuple):
    """Keypoint positions, and the local deformation of the image around each."""

    value: Tensor
    """(B, K, 2) coordinates."""
    jacobian: Tensor
    """(B, K, 2, 2) local affine transformation from the abstract reference frame."""


class EncodedSource(NamedTuple):
    """Source features of the generator, computed once for all animated frames."""

    image: Tensor
    """(B, 3, H, W)."""
    small: Tensor
    """(B, 3, h, w): image at the resolution of dense motion."""
    features: Tensor
    """(B, C, H', W')."""


class DenseMotion(NamedTuple):
    """Backward optical flow from the animated frame to the source, with masks and occlusion map."""

    mask: Tensor
    """(B, K+1, h, w) weight of each motion, the static background first; h and w follow dense motion's upsampling."""
    deformation: Tensor
    """(B, h, w, 2) coordinates in the source."""
    occlusion: Tensor | None
    """(B, 1, h, w): 1 where the source is visible, 0 where the generator must inpaint."""


class KeypointDetector(nn.Module):
    """Unsupervised detector of keypoints and jacobians."""

    def __init__(self, model: KeypointModel, num_kp: int, num_channels: int) -> None:
        super().__init__()
        self.temperature = model.temperature
        self.predictor = Hourglass(num_channels, model.block_expansion, model.max_features, model.num_blocks)
        # Unpadded: with the official kernel of 7 the heat maps are 6 pixels smaller than the features.
        self.kp = nn.Conv2d(self.predictor.out_channels, num_kp, model.head_kernel)
        self.jacobian = nn.Conv2d(self.predictor.out_channels, 4 * num_kp, model.head_kernel)
        nn.init.zeros_(self.jacobian.weight)
        self.jacobian.bias = nn.Parameter(torch.eye(2).flatten().repeat(num_kp))
        self.down = downsample(num_channels, model.scale_factor)

    def forward(self, x: Tensor) -> Keypoints:
        """(B, 3, H, W) → keypoints."""
        features = self.predictor(self.down(x))
        logits = self.kp(features)
        batch, num_kp, height, width = logits.shape
        heat = torch.softmax(logits.flatten(2) / self.temperature, dim=2)
        # The grid spans the heat map, not the image: a constant offset that the weights account for.
        value = heat @ coordinate_grid(height, width, logits).view(-1, 2)
        maps = self.jacobian(features).reshape(batch, num_kp, 4, height * width)
        jacobian = torch.einsum("bkn,bkcn->bkc", heat, maps).view(batch, num_kp, 2, 2)
        return Keypoints(value, jacobian)


class DenseMotionNetwork(nn.Module):
    """Combines the local motions of the keypoints into dense motion and an occlusion map."""

    def __init__(self, model: GeneratorModel, num_kp: int, num_channels: int, align_corners: bool) -> None:
        super().__init__()
        dense = model.dense_motion
        self.align_corners = align_corners
        in_channels = (num_kp + 1) * (num_channels + 1)
        self.hourglass = Hourglass(in_channels, dense.block_expansion, dense.max_features, dense.num_blocks)
        kernel, padding = dense.head_kernel, dense.head_kernel // 2
        self.mask = nn.Conv2d(self.hourglass.out_channels, num_kp + 1, kernel, padding=padding)
        self.upsampling = dense.upsampling
        self.keypoint_prior = dense.keypoint_prior
        if dense.keypoint_prior:
            nn.init.zeros_(self.mask.weight)  # an untrained model follows the prior
        self.occlusion = None
        if model.estimate_occlusion_map:
            self.occlusion = nn.Conv2d(self.hourglass.out_channels, 1, kernel, padding=padding)
            if model.full_resolution_skip:
                self.occlusion.bias = nn.Parameter(torch.full((1,), _SKIP_OCCLUSION_BIAS))
        self.down = downsample(num_channels, dense.scale_factor)

    def forward(self, small: Tensor, source: Keypoints, driving: Keypoints) -> DenseMotion:
        """Source image (B, 3, h, w) downsampled by ``down``, keypoints of both → motion at that resolution."""
        batch, channels, height, width = small.shape
        grid = coordinate_grid(height, width, small)
        motions = self._motions(grid, source, driving)
        count = motions.shape[1]
        # One tall grid samples all motions from a single copy of the image.
        warped = F.grid_sample(
            small,
            motions.reshape(batch, count * height, width, 2),
            mode="bilinear",
            padding_mode="zeros",
            align_corners=self.align_corners,
        ).reshape(batch, channels, count, height, width)
        heat = keypoint_gaussians(grid, driving.value) - keypoint_gaussians(grid, source.value)
        heat = F.pad(heat, (0, 0, 0, 0, 1, 0))  # the background has no keypoint
        inputs = torch.cat([heat[:, :, None], warped.transpose(1, 2)], dim=2)
        features = self.hourglass(inputs.flatten(1, 2).contiguous(memory_format=torch.channels_last))
        logits = self._upsampled(self.mask(features))
        if self.upsampling > 1:
            grid = coordinate_grid(self.upsampling * height, self.upsampling * width, small)
        if self.keypoint_prior:
            logits = logits + self.keypoint_prior * inverse_distance_logits(grid, driving.value)
        mask = torch.softmax(logits, dim=1)
        if self.upsampling > 1:
            deformation = _blended_motion(grid, mask, source, driving)
        else:
            deformation = torch.einsum("bkhw,bkhwc->bhwc", mask, motions)
        occlusion = None if self.occlusion is None else torch.sigmoid(self._upsampled(self.occlusion(features)))
        return DenseMotion(mask, deformation, occlusion)

    def _upsampled(self, logits: Tensor) -> Tensor:
        """Upsample with aligned corners, like the grid."""
        if self.upsampling == 1:
            return logits
        return F.interpolate(logits, scale_factor=self.upsampling, mode="bilinear", align_corners=True)

    @staticmethod
    def _motions(grid: Tensor, source: Keypoints, driving: Keypoints) -> Tensor:
        """Return (B, K+1, h, w, 2): the identity, then the first-order approximation around each keypoint."""
        transform = source.jacobian @ invert_2x2(driving.jacobian)
        offset = grid - driving.value[:, :, None, None]
        local = torch.einsum("bkij,bkhwj->bkhwi", transform, offset) + source.value[:, :, None, None]
        return torch.cat([grid.expand(len(local), 1, *grid.shape), local], dim=1)


class Generator(nn.Module):
    """Warps the source features by the dense motion and inpaints occluded regions."""

    def __init__(self, model: GeneratorModel, num_kp: int, num_channels: int, align_corners: bool) -> None:
        super().__init__()
        if model.full_resolution_skip and not model.estimate_occlusion_map:
            raise ConfigError("generator.full_resolution_skip: true needs generator.estimate_occlusion_map: true")
        if model.scale_factor != 1 and not model.full_resolution_skip:
            raise ConfigError(
                f"generator.scale_factor is {model.scale_factor}, which needs generator.full_resolution_skip: true; "
                "without it the whole image would be generated at that fraction of its resolution"
            )
        self.align_corners = align_corners
        self.full_resolution_skip = model.full_resolution_skip
        self.skip_sampling = model.skip_sampling
        self.dense_motion_network = DenseMotionNetwork(model, num_kp, num_channels, align_corners)
        self.down = downsample(num_channels, model.scale_factor)
        width, steps = model.block_expansion, range(1, model.num_down_blocks + 1)
        widths = [width, *(min(model.max_features, width * 2**i) for i in steps)]
        self.first = SameBlock(num_channels, width, kernel=7)
        self.down_blocks = nn.ModuleList(DownBlock(*pair) for pair in pairwise(widths))
        self.bottleneck = nn.Sequential()
        for i in range(model.num_bottleneck_blocks):
            self.bottleneck.add_module(f"r{i}", ResidualBlock(widths[-1]))
        rising = widths[::-1]
        self.up_blocks = nn.ModuleList(UpBlock(*pair) for pair in pairwise(rising))
        self.final = nn.Conv2d(width, num_channels, 7, padding=3)

    def encode(self, image: Tensor) -> EncodedSource:
        """(B, 3, H, W) → encoded source."""
        features = self.first(self.down(image))
        for block in self.down_blocks:
            features = block(features)
        with _float32(image):
            small = self.dense_motion_network.down(image)
        return EncodedSource(image, small, features)

    def motion(self, encoded: EncodedSource, source: Keypoints, driving: Keypoints) -> DenseMotion:
        """Return the dense motion from source to driving keypoints; float32 even under autocast."""
        with _float32(encoded.small):
            motion: DenseMotion = self.dense_motion_network(encoded.small, source, driving)
        return motion

    def decode(self, encoded: EncodedSource, motion: DenseMotion) -> Tensor:
        """Return the animated image (B, 3, H, W) in 0..1."""
        features = self._warp(encoded.features, motion.deformation)
        if motion.occlusion is not None:
            features = features * _resize(motion.occlusion, features.shape[-2:])
        features = self.bottleneck(features)
        for block in self.up_blocks:
            features = block(features)
        image = torch.sigmoid(self.final(features).float())  # bfloat16 has a resolution of 1/256 near 1
        if self.full_resolution_skip and motion.occlusion is not None:
            size = encoded.image.shape[-2:]
            # Aligned corners, like the grid of the motion, so that zero motion is exactly the identity.
            flow = _resize(motion.deformation.permute(0, 3, 1, 2), size, align_corners=True).permute(0, 2, 3, 1)
            warped = F.grid_sample(
                encoded.image, flow, mode=self.skip_sampling, padding_mode="border", align_corners=self.align_corners
            )
            if self.skip_sampling == "bicubic":  # overshoots at edges
                warped = warped.clamp(0, 1)
            visible = _resize(motion.occlusion, size)
            image = visible * warped + (1 - visible) * _resize(image, size)
        return image

    def forward(self, image: Tensor, source: Keypoints, driving: Keypoints) -> Tensor:
        """Animate ``image`` (B, 3, H, W) from its keypoints to the driving ones."""
        encoded = self.encode(image)
        return self.decode(encoded, self.motion(encoded, source, driving))

    def _warp(self, features: Tensor, deformation: Tensor) -> Tensor:
        # Upsampled deformations have aligned corners; the original model resizes without.
        aligned = self.dense_motion_network.upsampling > 1
        flow = _resize(deformation.permute(0, 3, 1, 2), features.shape[-2:], aligned).permute(0, 2, 3, 1)
        warped = F.grid_sample(features, flow, mode="bilinear", padding_mode="zeros", align_corners=self.align_corners)
        # grid_sample on CUDA returns channels first, which every residual block would convert again. The layout is
        # read from a single image, because a source expanded to a batch is contiguous in no format.
        if features[:1].is_contiguous(memory_format=torch.channels_last):
            warped = warped.contiguous(memory_format=torch.channels_last)
        return warped


class FirstOrderMotionModel(nn.Module):
    """Keypoint detector and generator, built from the settings.

    Args:
        model: architecture; the defaults are the official vox-256.
        align_corners: argument of grid_sample. True matches the training of the vox weights (torch 1.0), False the
            behaviour of the official program on torch ≥ 1.3.
    """

    def __init__(self, model: FommModel, align_corners: bool = True) -> None:
        super().__init__()
        self.settings = model
        self.kp_detector = KeypointDetector(model.keypoints, model.num_kp, model.num_channels)
        self.generator = Generator(model.generator, model.num_kp, model.num_channels, align_corners)


def size_multiple(model: FommModel) -> int:
    """Return the factor that must divide height and width of images, e.g. 128 for vox-256."""
    dense = model.generator.dense_motion
    return math.lcm(
        stride_of(model.keypoints.scale_factor) * 2**model.keypoints.num_blocks,
        stride_of(dense.scale_factor) * 2**dense.num_blocks,
        stride_of(model.generator.scale_factor) * 2**model.generator.num_down_blocks,
    )


def minimum_size(model: FommModel) -> int:
    """Return the smallest side of an image: the keypoint heads need a map of at least 2×2."""
    multiple = size_multiple(model)
    return multiple * math.ceil(stride_of(model.keypoints.scale_factor) * (model.keypoints.head_kernel + 1) / multiple)


def invert_2x2(matrices: Tensor) -> Tensor:
    """Return the inverse of (..., 2, 2), infinite for singular matrices.

    torch.linalg.inv synchronises with the GPU to detect singular ones, which a CUDA graph cannot capture.
    """
    a, b, c, d = matrices.flatten(-2).unbind(-1)
    adjugate = torch.stack([d, -b, -c, a], dim=-1).unflatten(-1, (2, 2))
    return adjugate / (a * d - b * c)[..., None, None]


def _float32(like: Tensor) -> torch.autocast:
    """Disable autocast for geometry: coordinates in bfloat16 are off by whole pixels."""
    return torch.autocast(like.device.type, enabled=False)


def _blended_motion(grid: Tensor, mask: Tensor, source: Keypoints, driving: Keypoints) -> Tensor:
    """Return the mean (B, h, w, 2) of all motions weighted by ``mask``, without materialising each motion.

    Motions are affine, so their mean at a point equals the mean of their coefficients applied to it.
    """
    transform = source.jacobian @ invert_2x2(driving.jacobian)
    shift = source.value[..., None] - transform @ driving.value[..., None]
    local = torch.cat([transform, shift], dim=-1).flatten(2)
    # Created on the device: a CUDA graph cannot capture a copy from the host.
    identity = torch.eye(2, 3, dtype=local.dtype, device=local.device).flatten().expand(len(local), 1, 6)
    a, b, c, d, e, f = torch.einsum("bkc,bkhw->bchw", torch.cat([identity, local], dim=1), mask).unbind(1)
    x, y = grid.unbind(-1)
    return torch.stack([a * x + b * y + c, d * x + e * y + f], dim=-1)


def _resize(maps: Tensor, size: torch.Size, align_corners: bool = False) -> Tensor:
    if maps.shape[-2:] == size:
        return maps
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=align_corners)
