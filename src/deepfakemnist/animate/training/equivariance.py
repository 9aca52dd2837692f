"""Random smooth deformations, under which the keypoints of a picture must move as the picture does.

Recipe of the paper's section 3.1 with the official program's strengths: an affine map plus a thin plate spline.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from deepfakemnist.animate.fomm.blocks import coordinate_grid

_AFFINE_SIGMA = 0.05
_SPLINE_SIGMA = 0.005
_SPLINE_POINTS = 5
_EPSILON = 1e-6


class RandomDeformation:
    """One random map of the plane per picture of a batch.

    z → A z + b + Σᵢ wᵢ φ(|z − cᵢ|₁) with φ(d) = d² log d, and cᵢ on a 5×5 grid over the picture.

    Args:
        batch: number of maps.
        generator: random numbers; on the CPU every device gets the same maps.
        device: where the maps are used.
    """

    def __init__(self, batch: int, generator: torch.Generator, device: torch.device) -> None:
        noise = torch.randn(batch, 2, 3, generator=generator, device=generator.device) * _AFFINE_SIGMA
        affine = noise.to(device) + torch.eye(2, 3, device=device)
        self.matrix, self.offset = affine[:, :, :2], affine[:, :, 2]
        weights = torch.randn(batch, _SPLINE_POINTS**2, generator=generator, device=generator.device)
        self.weights = weights.to(device) * _SPLINE_SIGMA
        self.centres = coordinate_grid(_SPLINE_POINTS, _SPLINE_POINTS, self.weights).view(-1, 2)

    def points(self, z: Tensor) -> Tensor:
        """Map coordinates (B, N, 2)."""
        distance = (z[:, :, None] - self.centres).abs().sum(-1)
        bump = distance.square() * torch.log(distance + _EPSILON)
        spline = torch.einsum("bni,bi->bn", bump, self.weights)
        return z @ self.matrix.transpose(1, 2) + self.offset[:, None] + spline[:, :, None]

    def jacobian(self, z: Tensor) -> Tensor:
        """Return the derivative of ``points`` at (B, N, 2), as (B, N, 2, 2)."""
        offset = z[:, :, None] - self.centres
        distance = offset.abs().sum(-1)
        slope = 2 * distance * torch.log(distance + _EPSILON) + distance.square() / (distance + _EPSILON)
        gradient = torch.einsum("bni,bnic,bi->bnc", slope, offset.sign(), self.weights)
        return self.matrix[:, None] + gradient[:, :, None]

    def pictures(self, pictures: Tensor, align_corners: bool) -> Tensor:
        """Warp (B, 3, H, W): the result at z shows what the picture shows at ``points(z)``."""
        batch, _, height, width = pictures.shape
        grid = coordinate_grid(height, width, pictures).view(1, -1, 2).expand(batch, -1, -1)
        flow = self.points(grid).view(batch, height, width, 2)
        return F.grid_sample(pictures, flow, mode="bilinear", padding_mode="reflection", align_corners=align_corners)
