"""Domain randomisation of training pairs of rendered actors, to close the gap to filmed faces.

Randomised are background, crop, light, colours, blur, noise, compression and occlusion. Both images of a pair get the
same change, because the animator must learn to move a face and nothing else; only the noise differs. The keypoint
detector's input is also perturbed, per image, by ``animate.training.perturb``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from deepfakemnist.animate.fomm.blocks import coordinate_grid
from deepfakemnist.faces.facial_points import MIRRORED

#: Probability of each change per pair.
_BACKGROUND, _PATCH, _BLUR, _NOISE, _COMPRESSION = 0.7, 0.15, 0.35, 0.5, 0.5
#: Crop side as a share of the rendered image: range while training, and the fixed centre crop for evaluation.
_CROP, _CENTRE_CROP = (0.8, 1.0), 0.9
_ROTATION = math.radians(6)
#: Standard deviations of log brightness, its gradient across the image, log gamma and log gain per channel.
_LIGHT, _GRADIENT, _GAMMA, _CHANNEL = 0.2, 0.25, 0.2, 0.07
_SATURATION = (0.5, 1.2)
_BLUR_SIGMA, _BLUR_RADIUS = (0.4, 1.2), 3
_NOISE_SIGMA = 0.025
#: Quantisation step of the DC coefficient of 8×8 DCT blocks, for values 0..1; the highest frequency's is eight times as
#: large. JPEG's is 16/255 at quality 50.
_STEP = (0.01, 0.08)
_BLOCK = 8
_PATCH_SIDE = 0.3
#: BT.601 RGB to YCbCr, as in JPEG.
_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


@dataclass(frozen=True)
class Crops:
    """Affine crop of each pair, in -1..1: a point z of the crop shows A z + b of the rendered image."""

    matrix: Tensor
    """(B, 2, 2)."""
    offset: Tensor
    """(B, 2)."""
    mirrored: Tensor
    """(B,) bool."""

    @classmethod
    def centre(cls, count: int, device: torch.device) -> Crops:
        """Return the same centre crop for all pairs."""
        matrix = _CENTRE_CROP * torch.eye(2, device=device).expand(count, 2, 2)
        return cls(matrix, torch.zeros(count, 2, device=device), torch.zeros(count, dtype=torch.bool, device=device))

    @classmethod
    def sample(cls, rng: _BatchRandom) -> Crops:
        """Sample size, position and rotation of each pair's crop; half of them are mirrored."""
        side, angle = rng.between(_CROP, 1)[:, 0], _ROTATION * (2 * rng.uniform(1)[:, 0] - 1)
        mirrored = rng.uniform(1)[:, 0] < 0.5
        cosine, sine = side * angle.cos(), side * angle.sin()
        sign = torch.where(mirrored, -1.0, 1.0)
        matrix = torch.stack([cosine * sign, -sine, sine * sign, cosine], dim=1).unflatten(1, (2, 2))
        return cls(matrix, (1 - side)[:, None] * (2 * rng.uniform(2) - 1), mirrored)


def crop_pairs(images: Tensor, points: Tensor, crops: Crops, size: int) -> tuple[Tensor, Tensor]:
    """Crop (B, 2, C, S, S) images and their (B, 2, P, 2) points → (B, 2, C, size, size) and points in the crops."""
    grid = coordinate_grid(size, size, images).view(1, -1, 2)
    flow = (grid @ crops.matrix.transpose(1, 2) + crops.offset[:, None]).view(-1, size, size, 2)
    flat = images.flatten(1, 2)  # both images of a pair become channels of one
    cropped = F.grid_sample(flat, flow, mode="bilinear", padding_mode="reflection", align_corners=True)
    inverse = torch.linalg.inv_ex(crops.matrix).inverse  # no error check, hence no device synchronisation
    moved = (points - crops.offset[:, None, None]) @ inverse.transpose(1, 2)[:, None]
    moved = torch.where(crops.mirrored[:, None, None, None], moved[:, :, MIRRORED], moved)
    return cropped.unflatten(1, images.shape[1:3]), moved


def randomise_pairs(
    images: Tensor, alpha: Tensor, points: Tensor, room: Tensor, other: Tensor, size: int, random: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return randomised pairs (B, 2, 3, size, size) in 0..1 and their points (B, 2, P, 2) in -1..1.

    Args:
        images: (B, 2, 3, S, S) in 0..1.
        alpha: (B, 2, 1, S, S), alpha matte of the actor.
        points: (B, 2, P, 2) in -1..1.
        room: (B, 3, S, S), the background of the images.
        other: (B, 3, S, S), replacement backgrounds for some of the pairs.
        size: side of the result, a multiple of 8.
        random: on the images' device or on the CPU.
    """
    rng = _BatchRandom(len(images), random, images.device)
    background = torch.where(rng.chance(_BACKGROUND, 3), _background(other, rng), room)
    # Subtracting the room from mixed pixels leaves no rim of the old background around the head.
    images = images + (1 - alpha) * (background - room)[:, None]
    images, points = crop_pairs(images, points, Crops.sample(rng), size)
    flat = images.flatten(1, 2)
    flat = _occlude(flat, rng)
    flat = _relight(flat.unflatten(1, (2, 3)), rng).flatten(1, 2)
    flat = torch.where(rng.chance(_BLUR, 3), _blur(flat, rng), flat)
    sigma = _NOISE_SIGMA * rng.uniform(1, 1, 1) * rng.chance(_NOISE, 3)
    flat = (flat + sigma * rng.normal(*flat.shape[1:])).clamp(0, 1)
    images = flat.unflatten(1, (2, 3))
    step = rng.between(_STEP, 1, 1, 1, 1, 1, 1)
    images = torch.where(rng.chance(_COMPRESSION, 4), simulate_compression(images, step), images)
    return images.clamp(0, 1), points


def simulate_compression(images: Tensor, step: Tensor) -> Tensor:
    """Quantise 8×8 DCT blocks with chroma at half resolution, as JPEG and H.264 do.

    Args:
        images: (B, 2, 3, H, W) in 0..1; H and W multiples of 8.
        step: (B, 1, 1, 1, 1, 1, 1) quantisation step of the lowest frequency.
    """
    device = images.device
    to_ycc = torch.tensor(_TO_YCC, device=device)
    ycc = torch.einsum("rc,bnchw->bnrhw", to_ycc, images)
    chroma = ycc[:, :, 1:].flatten(0, 1)
    subsampled = F.interpolate(F.avg_pool2d(chroma, 2), scale_factor=2.0, mode="bilinear")
    ycc = torch.cat([ycc[:, :, :1], subsampled.unflatten(0, ycc.shape[:2])], dim=2)

    index = torch.arange(_BLOCK, device=device)
    cosine = torch.cos(math.pi / _BLOCK * (index + 0.5) * index[:, None]) * math.sqrt(2 / _BLOCK)
    cosine[0] /= math.sqrt(2)
    blocks = ycc.unflatten(4, (-1, _BLOCK)).unflatten(3, (-1, _BLOCK))  # (B, 2, 3, h, 8, w, 8)
    coefficients = torch.einsum("ui,bnchiwj,vj->bnchuwv", cosine, blocks, cosine)
    # Steps grow with frequency, up to eight times, roughly like JPEG's quantisation tables.
    steps = step * (1 + index[:, None, None] / 2 + index / 2)
    coefficients = steps * torch.round(coefficients / steps)
    blocks = torch.einsum("ui,bnchuwv,vj->bnchiwj", cosine, coefficients, cosine)
    ycc = blocks.flatten(5, 6).flatten(3, 4)
    return torch.einsum("rc,bnchw->bnrhw", torch.linalg.inv_ex(to_ycc).inverse, ycc)


class _BatchRandom:
    """Random tensors for a batch of pairs."""

    def __init__(self, batch: int, random: torch.Generator, device: torch.device) -> None:
        self.batch, self.random, self.device = batch, random, device

    def uniform(self, *shape: int) -> Tensor:
        """Return (B, *shape) uniform in 0..1."""
        return torch.rand(self.batch, *shape, generator=self.random, device=self.random.device).to(self.device)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(self.batch, *shape, generator=self.random, device=self.random.device).to(self.device)

    def between(self, limits: tuple[float, float], *shape: int) -> Tensor:
        return limits[0] + (limits[1] - limits[0]) * self.uniform(*shape)

    def chance(self, probability: float, dimensions: int) -> Tensor:
        """Return (B, 1, ..., 1) bool."""
        return self.uniform(*[1] * dimensions) < probability


def _background(other: Tensor, rng: _BatchRandom) -> Tensor:
    """Return (B, 3, S, S): another actor's room in other colours, or coloured clouds, with or without tiles."""
    side = other.shape[-1]
    coarse, fine = (rng.uniform(3, cells, cells) for cells in (4, 16))
    smooth = F.interpolate(coarse, (side, side), mode="bicubic")
    tiles = F.interpolate(fine, (side, side), mode="nearest")
    painted = torch.lerp(smooth, tiles, rng.uniform(1, 1, 1) * rng.chance(0.5, 3))
    room = other * torch.exp(2 * _CHANNEL * rng.normal(3, 1, 1) + _LIGHT * rng.normal(1, 1, 1))
    return torch.where(rng.chance(0.5, 3), room, painted).clamp(0, 1)


def _occlude(images: Tensor, rng: _BatchRandom) -> Tensor:
    """Cover part of some pairs (B, 6, H, W) with a plain rectangle, at the same position in both images."""
    height, width = images.shape[-2:]
    x = torch.linspace(-1, 1, width, device=images.device)
    y = torch.linspace(-1, 1, height, device=images.device)[:, None]
    side, centre = _PATCH_SIDE * rng.uniform(2, 1, 1), 2 * rng.uniform(2, 1, 1) - 1
    covered = ((x - centre[:, :1]).abs() < side[:, :1]) & ((y - centre[:, 1:]).abs() < side[:, 1:])
    return torch.where(covered & rng.chance(_PATCH, 3), rng.uniform(3, 1, 1).repeat(1, 2, 1, 1), images)


def _relight(images: Tensor, rng: _BatchRandom) -> Tensor:
    """Change brightness, white balance, gamma and saturation of (B, 2, 3, H, W)."""
    height, width = images.shape[-2:]
    x = torch.linspace(-1, 1, width, device=images.device)
    y = torch.linspace(-1, 1, height, device=images.device)[:, None]
    across, down = (_GRADIENT * rng.normal(1, 1, 1, 1) for _ in range(2))
    light = _LIGHT * rng.normal(1, 1, 1, 1) + _CHANNEL * rng.normal(1, 3, 1, 1) + across * x + down * y
    grey = images.mean(dim=2, keepdim=True)
    coloured = grey + (images - grey) * rng.between(_SATURATION, 1, 1, 1, 1)
    return (coloured.clamp_min(1e-4) ** torch.exp(_GAMMA * rng.normal(1, 1, 1, 1)) * light.exp()).clamp(0, 1)


def _blur(images: Tensor, rng: _BatchRandom) -> Tensor:
    """Blur (B, C, H, W) with a Gaussian of random width per sample."""
    batch, channels = images.shape[:2]
    offset = torch.arange(-_BLUR_RADIUS, _BLUR_RADIUS + 1, device=images.device)
    kernel = torch.exp(-0.5 * (offset / rng.between(_BLUR_SIGMA, 1)).square())
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).repeat_interleave(channels, 0)[:, None]
    padded = F.pad(images, [_BLUR_RADIUS] * 4, mode="replicate").flatten(0, 1)[None]
    across = F.conv2d(padded, kernel[:, :, None], groups=batch * channels)
    return F.conv2d(across, kernel[..., None], groups=batch * channels)[0].unflatten(0, (batch, channels))
