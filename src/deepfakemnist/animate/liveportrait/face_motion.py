"""Motion extractor of LivePortrait, M in the paper: keypoints, expression and head pose of a face.

A ConvNeXt V2 (Woo et al., arXiv 2301.00808) with seven linear heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Epsilon of every LayerNorm, and of the global response normalisation.
_EPS = 1e-6
#: Angles are expected values over bins of 3°, the first one at −97.5°.
BINS, _BIN_DEGREES, _FIRST_BIN = 66, 3.0, -97.5


class FaceMotion(NamedTuple):
    """What the network reads off T faces; x right, y down, z into the picture, of the picture's half side."""

    kp: Tensor
    """(T, K, 3) keypoints of the face at rest, facing the camera."""
    exp: Tensor
    """(T, K, 3) their displacement by the expression."""
    rotation: Tensor
    """(T, 3, 3) of the head, to be multiplied from the right."""
    scale: Tensor
    """(T, 1)."""
    t: Tensor
    """(T, 3) translation; the last component has no effect."""


class MotionExtractor(nn.Module):
    """Reads keypoints, expression and head pose off pictures.

    Args:
        depths: blocks of each of the four stages.
        widths: channels of each stage.
        keypoints: number of keypoints.
    """

    def __init__(self, depths: Sequence[int], widths: Sequence[int], keypoints: int) -> None:
        super().__init__()
        self.detector = ConvNextHeads(depths, widths, keypoints)

    def forward(self, images: Tensor) -> FaceMotion:
        """RGB in 0..1 (T, 3, H, W), sides multiples of 32."""
        heads = self.detector(images)
        with torch.autocast(images.device.type, enabled=False):  # rotations stay in float32
            return FaceMotion(
                heads["kp"].unflatten(1, (-1, 3)),
                heads["exp"].unflatten(1, (-1, 3)),
                rotation(degrees(heads["pitch"]), degrees(heads["yaw"]), degrees(heads["roll"])),
                heads["scale"],
                heads["t"],
            )


class ConvNextHeads(nn.Module):
    """ConvNeXt V2 with one linear head per quantity."""

    def __init__(self, depths: Sequence[int], widths: Sequence[int], keypoints: int) -> None:
        super().__init__()
        self.downsample_layers = nn.ModuleList([nn.Sequential(nn.Conv2d(3, widths[0], 4, stride=4), _norm(widths[0]))])
        for narrow, wide in pairwise(widths):
            self.downsample_layers.append(nn.Sequential(_norm(narrow), nn.Conv2d(narrow, wide, 2, stride=2)))
        self.stages = nn.ModuleList(
            nn.Sequential(*(ConvNextBlock(width) for _ in range(depth)))
            for depth, width in zip(depths, widths, strict=True)
        )
        self.norm = nn.LayerNorm(widths[-1], eps=_EPS)
        self.outputs = {"kp": 3 * keypoints, "scale": 1, "pitch": BINS, "yaw": BINS, "roll": BINS}
        self.outputs |= {"t": 3, "exp": 3 * keypoints}
        for name, count in self.outputs.items():
            self.add_module(f"fc_{name}", nn.Linear(widths[-1], count))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(T, 3, H, W) → raw output (T, n) of every head, float32."""
        features = images
        for reduce, stage in zip(self.downsample_layers, self.stages, strict=True):
            features = stage(reduce(features))
        pooled = self.norm(features.mean((2, 3)))
        return {name: self.get_submodule(f"fc_{name}")(pooled).float() for name in self.outputs}


class ConvNextBlock(nn.Module):
    """Depthwise convolution, and a perceptron per pixel with global response normalisation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=_EPS)
        self.pwconv1 = nn.Linear(width, 4 * width)
        self.grn = ResponseNorm(4 * width)
        self.pwconv2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) → the same shape."""
        out = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        out = self.pwconv2(self.grn(F.gelu(self.pwconv1(out))))
        result: Tensor = x + out.permute(0, 3, 1, 2)
        return result


class ResponseNorm(nn.Module):
    """Global response normalisation: channels compete by their norm over the picture."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, 1, width))
        self.beta = nn.Parameter(torch.zeros(1, 1, 1, width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, width) → the same shape."""
        response = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True)
        relative = response / (response.mean(-1, keepdim=True) + _EPS)
        return self.gamma * (x * relative) + self.beta + x


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → the same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def degrees(logits: Tensor) -> Tensor:
    """Return the angle (T,) in degrees that logits (T, 66) over bins mean."""
    bins = torch.arange(BINS, dtype=logits.dtype, device=logits.device)
    return _BIN_DEGREES * (logits.softmax(1) * bins).sum(1) + _FIRST_BIN


def rotation(pitch: Tensor, yaw: Tensor, roll: Tensor) -> Tensor:
    """Return matrices (T, 3, 3) for row vectors, ``points @ matrix``, from angles (T,) in degrees.

    The head is rotated about x by pitch, then about y by yaw, then about z by roll.
    """
    (sin_x, sin_y, sin_z), (cos_x, cos_y, cos_z) = (
        [function(torch.deg2rad(angle)) for angle in (pitch, yaw, roll)] for function in (torch.sin, torch.cos)
    )
    zero, one = torch.zeros_like(sin_x), torch.ones_like(sin_x)

    def matrix(*entries: Tensor) -> Tensor:
        return torch.stack(entries, dim=-1).unflatten(-1, (3, 3))

    about_x = matrix(one, zero, zero, zero, cos_x, -sin_x, zero, sin_x, cos_x)
    about_y = matrix(cos_y, zero, sin_y, zero, one, zero, -sin_y, zero, cos_y)
    about_z = matrix(cos_z, -sin_z, zero, sin_z, cos_z, zero, zero, zero, one)
    return (about_z @ about_y @ about_x).mT


def _norm(width: int) -> ChannelNorm:
    return ChannelNorm(width, eps=_EPS)
