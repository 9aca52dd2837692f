"""Domain randomisation of training pairs: what tells a rendered picture from a filmed one is drawn at random.

Background, crop, light, colours, blur, noise, compression and things in front of the face. Both pictures of a pair get
the same of each, because the animator must learn to move a face and nothing else; noise alone is another in each. What
the keypoint detector sees is perturbed once more, every picture for itself, by ``animate.perturb``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from deepfakemnist.animate.fomm.blocks import coordinate_grid
from deepfakemnist.faces.facial_points import MIRRORED

#: Chance of each change for a pair.
_BACKGROUND, _PATCH, _BLUR, _NOISE, _COMPRESSION = 0.7, 0.15, 0.35, 0.5, 0.5
#: Sides of crops as shares of the rendered picture; the middle one is what is measured with.
_CROP, _MIDDLE = (0.8, 1.0), 0.9
_TURN = math.radians(6)
#: Standard deviations of the logarithms of light, of its change over the picture, of gamma and of each channel's gain.
_LIGHT, _SLOPE, _GAMMA, _CHANNEL = 0.2, 0.25, 0.2, 0.07
_SATURATION = (0.5, 1.2)
_BLUR_SIGMA, _BLUR_RADIUS = (0.4, 1.2), 3
_NOISE_SIGMA = 0.025
#: Step in which the lowest frequency of 8×8 blocks is quantised, of 0..1; that of the highest is eight times as large.
#: JPEG's is 16/255 at quality 50.
_STEP = (0.01, 0.08)
_BLOCK = 8
_PATCH_SIDE = 0.3
#: BT.601, as JPEG has it.
_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


@dataclass(frozen=True)
class Crops:
    """Where each pair's crops lie in the rendered pictures, in -1..1: a place z of a crop shows A z + b."""

    matrix: Tensor
    """(B, 2, 2)."""
    offset: Tensor
    """(B, 2)."""
    mirrored: Tensor
    """(B,) bool."""

    @classmethod
    def middle(cls, count: int, device: torch.device) -> Crops:
        """Return the same middle crop for all."""
        matrix = _MIDDLE * torch.eye(2, device=device).expand(count, 2, 2)
        return cls(matrix, torch.zeros(count, 2, device=device), torch.zeros(count, dtype=torch.bool, device=device))

    @classmethod
    def drawn(cls, draw: _Draw) -> Crops:
        """Return a crop of random size, place and turn for each pair, half of them mirrored."""
        side, turn = draw.between(_CROP, 1)[:, 0], _TURN * (2 * draw.uniform(1)[:, 0] - 1)
        mirrored = draw.uniform(1)[:, 0] < 0.5
        cosine, sine = side * turn.cos(), side * turn.sin()
        sign = torch.where(mirrored, -1.0, 1.0)
        matrix = torch.stack([cosine * sign, -sine, sine * sign, cosine], dim=1).unflatten(1, (2, 2))
        return cls(matrix, (1 - side)[:, None] * (2 * draw.uniform(2) - 1), mirrored)


def crop_of(pictures: Tensor, points: Tensor, crops: Crops, size: int) -> tuple[Tensor, Tensor]:
    """Cut (B, 2, C, S, S) and move (B, 2, P, 2) points with it → (B, 2, C, size, size) and points of the crops."""
    grid = coordinate_grid(size, size, pictures).view(1, -1, 2)
    flow = (grid @ crops.matrix.transpose(1, 2) + crops.offset[:, None]).view(-1, size, size, 2)
    flat = pictures.flatten(1, 2)  # both pictures of a pair are channels of one
    cut = F.grid_sample(flat, flow, mode="bilinear", padding_mode="reflection", align_corners=True)
    back = torch.linalg.inv_ex(crops.matrix).inverse  # does not wait for the device to say whether there is one
    moved = (points - crops.offset[:, None, None]) @ back.transpose(1, 2)[:, None]
    moved = torch.where(crops.mirrored[:, None, None, None], moved[:, :, MIRRORED], moved)
    return cut.unflatten(1, pictures.shape[1:3]), moved


def randomised(
    pictures: Tensor, share: Tensor, points: Tensor, room: Tensor, other: Tensor, size: int, random: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return pairs (B, 2, 3, size, size) in 0..1 and their points (B, 2, P, 2) in -1..1, changed at random.

    Args:
        pictures: (B, 2, 3, S, S) in 0..1.
        share: (B, 2, 1, S, S), how much of each pixel the actor covers.
        points: (B, 2, P, 2) in -1..1.
        room: (B, 3, S, S), the pictures without the actor.
        other: (B, 3, S, S), rooms to put behind some instead.
        size: side of the result, a multiple of 8.
        random: on the pictures' device or on the CPU.
    """
    draw = _Draw(len(pictures), random, pictures.device)
    ground = torch.where(draw.chance(_BACKGROUND, 3), _background(other, draw), room)
    # The room's share of a pixel is taken out of it, so no rim of the old background is left around the head.
    pictures = pictures + (1 - share) * (ground - room)[:, None]
    pictures, points = crop_of(pictures, points, Crops.drawn(draw), size)
    flat = pictures.flatten(1, 2)
    flat = _patched(flat, draw)
    flat = _lit(flat.unflatten(1, (2, 3)), draw).flatten(1, 2)
    flat = torch.where(draw.chance(_BLUR, 3), _blurred(flat, draw), flat)
    sigma = _NOISE_SIGMA * draw.uniform(1, 1, 1) * draw.chance(_NOISE, 3)
    flat = (flat + sigma * draw.normal(*flat.shape[1:])).clamp(0, 1)
    pictures = flat.unflatten(1, (2, 3))
    coarse = draw.between(_STEP, 1, 1, 1, 1, 1, 1)
    pictures = torch.where(draw.chance(_COMPRESSION, 4), compressed(pictures, coarse), pictures)
    return pictures.clamp(0, 1), points


def compressed(pictures: Tensor, step: Tensor) -> Tensor:
    """Quantise 8×8 blocks' cosine transform, as JPEG and H.264 do, colour at half resolution.

    Args:
        pictures: (B, 2, 3, H, W) in 0..1; H and W multiples of 8.
        step: (B, 1, 1, 1, 1, 1, 1) quantisation of the lowest frequency.
    """
    device = pictures.device
    to_ycc = torch.tensor(_TO_YCC, device=device)
    ycc = torch.einsum("rc,bnchw->bnrhw", to_ycc, pictures)
    colour = ycc[:, :, 1:].flatten(0, 1)
    coarse = F.interpolate(F.avg_pool2d(colour, 2), scale_factor=2.0, mode="bilinear")
    ycc = torch.cat([ycc[:, :, :1], coarse.unflatten(0, ycc.shape[:2])], dim=2)

    place = torch.arange(_BLOCK, device=device)
    cosine = torch.cos(math.pi / _BLOCK * (place + 0.5) * place[:, None]) * math.sqrt(2 / _BLOCK)
    cosine[0] /= math.sqrt(2)
    blocks = ycc.unflatten(4, (-1, _BLOCK)).unflatten(3, (-1, _BLOCK))  # (B, 2, 3, h, 8, w, 8)
    waves = torch.einsum("ui,bnchiwj,vj->bnchuwv", cosine, blocks, cosine)
    # Coarser by frequency, up to eight times, about as the tables of JPEG rise.
    steps = step * (1 + place[:, None, None] / 2 + place / 2)
    waves = steps * torch.round(waves / steps)
    blocks = torch.einsum("ui,bnchuwv,vj->bnchiwj", cosine, waves, cosine)
    ycc = blocks.flatten(5, 6).flatten(3, 4)
    return torch.einsum("rc,bnchw->bnrhw", torch.linalg.inv_ex(to_ycc).inverse, ycc)


class _Draw:
    """Random numbers for a batch of pairs."""

    def __init__(self, batch: int, random: torch.Generator, device: torch.device) -> None:
        self.batch, self.random, self.device = batch, random, device

    def uniform(self, *shape: int) -> Tensor:
        """(B, *shape) in 0..1."""
        return torch.rand(self.batch, *shape, generator=self.random, device=self.random.device).to(self.device)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(self.batch, *shape, generator=self.random, device=self.random.device).to(self.device)

    def between(self, limits: tuple[float, float], *shape: int) -> Tensor:
        return limits[0] + (limits[1] - limits[0]) * self.uniform(*shape)

    def chance(self, chance: float, dimensions: int) -> Tensor:
        """(B, 1, ..., 1) bool."""
        return self.uniform(*[1] * dimensions) < chance


def _background(other: Tensor, draw: _Draw) -> Tensor:
    """Return (B, 3, S, S): somebody else's room in other colours, or coloured clouds or tiles of any size."""
    side = other.shape[-1]
    coarse, fine = (draw.uniform(3, cells, cells) for cells in (4, 16))
    smooth = F.interpolate(coarse, (side, side), mode="bicubic")
    tiles = F.interpolate(fine, (side, side), mode="nearest")
    painted = torch.lerp(smooth, tiles, draw.uniform(1, 1, 1) * draw.chance(0.5, 3))
    room = other * torch.exp(2 * _CHANNEL * draw.normal(3, 1, 1) + _LIGHT * draw.normal(1, 1, 1))
    return torch.where(draw.chance(0.5, 3), room, painted).clamp(0, 1)


def _patched(pictures: Tensor, draw: _Draw) -> Tensor:
    """Cover a part of some pictures (B, 6, H, W) by a plain rectangle, in the same place of both."""
    height, width = pictures.shape[-2:]
    x = torch.linspace(-1, 1, width, device=pictures.device)
    y = torch.linspace(-1, 1, height, device=pictures.device)[:, None]
    side, centre = _PATCH_SIDE * draw.uniform(2, 1, 1), 2 * draw.uniform(2, 1, 1) - 1
    covered = ((x - centre[:, :1]).abs() < side[:, :1]) & ((y - centre[:, 1:]).abs() < side[:, 1:])
    return torch.where(covered & draw.chance(_PATCH, 3), draw.uniform(3, 1, 1).repeat(1, 2, 1, 1), pictures)


def _lit(pictures: Tensor, draw: _Draw) -> Tensor:
    """Change light, white balance, gamma and saturation of (B, 2, 3, H, W)."""
    height, width = pictures.shape[-2:]
    x = torch.linspace(-1, 1, width, device=pictures.device)
    y = torch.linspace(-1, 1, height, device=pictures.device)[:, None]
    across, down = (_SLOPE * draw.normal(1, 1, 1, 1) for _ in range(2))
    light = _LIGHT * draw.normal(1, 1, 1, 1) + _CHANNEL * draw.normal(1, 3, 1, 1) + across * x + down * y
    grey = pictures.mean(dim=2, keepdim=True)
    coloured = grey + (pictures - grey) * draw.between(_SATURATION, 1, 1, 1, 1)
    return (coloured.clamp_min(1e-4) ** torch.exp(_GAMMA * draw.normal(1, 1, 1, 1)) * light.exp()).clamp(0, 1)


def _blurred(pictures: Tensor, draw: _Draw) -> Tensor:
    """Blur (B, C, H, W) by a Gaussian of another width for each."""
    batch, channels = pictures.shape[:2]
    place = torch.arange(-_BLUR_RADIUS, _BLUR_RADIUS + 1, device=pictures.device)
    kernel = torch.exp(-0.5 * (place / draw.between(_BLUR_SIGMA, 1)).square())
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).repeat_interleave(channels, 0)[:, None]
    padded = F.pad(pictures, [_BLUR_RADIUS] * 4, mode="replicate").flatten(0, 1)[None]
    across = F.conv2d(padded, kernel[:, :, None], groups=batch * channels)
    return F.conv2d(across, kernel[..., None], groups=batch * channels)[0].unflatten(0, (batch, channels))
