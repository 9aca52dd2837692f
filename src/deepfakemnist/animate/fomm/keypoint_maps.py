"""Keypoint heat maps: Gaussians for dense motion, inverse-distance logits for the keypoint prior."""

from __future__ import annotations

import torch
from torch import Tensor

#: Variance of the Gaussian of a keypoint in the dense motion network (official default).
_KEYPOINT_VARIANCE = 0.01
#: Distances in -1..1: below the first a keypoint's logit saturates, beyond the second the background dominates.
_PRIOR_NEAR, _PRIOR_FAR = 0.02, 0.5


def keypoint_gaussians(grid: Tensor, centres: Tensor) -> Tensor:
    """(h, w, 2), (B, K, 2) → (B, K, h, w): a Gaussian of height 1 at each keypoint."""
    offset = grid - centres[:, :, None, None]
    return torch.exp(-0.5 * offset.square().sum(-1) / _KEYPOINT_VARIANCE)


def inverse_distance_logits(grid: Tensor, centres: Tensor) -> Tensor:
    """(h, w, 2), (B, K, 2) → (B, K+1, h, w): -log of the squared distance from each keypoint, the background first.

    The softmax of p times these logits is Shepard's inverse distance weighting with power 2p.
    """
    across = (grid[0, :, 0] - centres[:, :, :1]).square()
    down = (grid[:, 0, 1] - centres[:, :, 1:]).square() + _PRIOR_NEAR**2
    distance = across[:, :, None] + down[..., None]
    background = torch.full_like(distance[:, :1], _PRIOR_FAR**2)
    return -torch.log(torch.cat([background, distance], dim=1))
