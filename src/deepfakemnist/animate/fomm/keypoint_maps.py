"""Maps that say where keypoints are and how near each place is to them."""

from __future__ import annotations

import torch
from torch import Tensor

#: Variance of the Gaussian that marks a keypoint for the dense motion network (official default).
_KEYPOINT_VARIANCE = 0.01
#: Distances in -1..1: where a keypoint stops growing stronger, and where it yields to the background.
_PRIOR_NEAR, _PRIOR_FAR = 0.02, 0.5


def keypoint_gaussians(grid: Tensor, centres: Tensor) -> Tensor:
    """(h, w, 2), (B, K, 2) → (B, K, h, w): a Gaussian of height 1 on each keypoint."""
    offset = grid - centres[:, :, None, None]
    return torch.exp(-0.5 * offset.square().sum(-1) / _KEYPOINT_VARIANCE)


def nearness(grid: Tensor, centres: Tensor) -> Tensor:
    """(h, w, 2), (B, K, 2) → (B, K+1, h, w): -log of the squared distance from each keypoint, the background first.

    As logits times p, their softmax is Shepard's inverse distance weighting with the power 2p.
    """
    across = (grid[0, :, 0] - centres[:, :, :1]).square()
    down = (grid[:, 0, 1] - centres[:, :, 1:]).square() + _PRIOR_NEAR**2
    distance = across[:, :, None] + down[..., None]
    background = torch.full_like(distance[:, :1], _PRIOR_FAR**2)
    return -torch.log(torch.cat([background, distance], dim=1))
