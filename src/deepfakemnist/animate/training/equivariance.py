"""Random smooth deformations for the equivariance loss: keypoints must move with the image.

As in section 3.1 of the paper, with the strengths of the official program: an affine map plus a thin-plate spline.
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
    """One random deformation of the plane per image of a batch.

    z → A z + b + Σᵢ wᵢ φ(|z − cᵢ|₁) with φ(d) = d² log d, and cᵢ on a 5×5 grid over the image.

    Args:
        batch: number of deformations.
        generator: source of randomness; a CPU generator gives the same deformations on every device.
        device: where the deformations are applied.
    """

    def __init__(self, batch: int, generator: torch.Generator, device: torch.device) -> None:
        # Not blocking, because that would wait for all that the GPU has to do.
        noise = torch.randn(batch, 2, 3, generator=generator, device=generator.device) * _AFFINE_SIGMA
        affine = noise.to(device, non_blocking=True) + torch.eye(2, 3, device=device)
        self.matrix, self.offset = affine[:, :, :2], affine[:, :, 2]
        weights = torch.randn(batch, _SPLINE_POINTS**2, generator=generator, device=generator.device)
        self.weights = weights.to(device, non_blocking=True) * _SPLINE_SIGMA
        self.centres = coordinate_grid(_SPLINE_POINTS, _SPLINE_POINTS, self.weights).view(-1, 2)

    def points(self, z: Tensor) -> Tensor:
        """Deform coordinates (B, N, 2)."""
        distance = (z[:, :, None] - self.centres).abs().sum(-1)
        bump = distance.square() * torch.log(distance + _EPSILON)
        spline = torch.einsum("bni,bi->bn", bump, self.weights)
        return z @ self.matrix.transpose(1, 2) + self.offset[:, None] + spline[:, :, None]

    def jacobian(self, z: Tensor) -> Tensor:
        """Return the jacobian (B, N, 2, 2) of ``points`` at (B, N, 2)."""
        offset = z[:, :, None] - self.centres
        distance = offset.abs().sum(-1)
        slope = 2 * distance * torch.log(distance + _EPSILON) + distance.square() / (distance + _EPSILON)
        gradient = torch.einsum("bni,bnic,bi->bnc", slope, offset.sign(), self.weights)
        return self.matrix[:, None] + gradient[:, :, None]

    def images(self, images: Tensor, align_corners: bool) -> Tensor:
        """Warp (B, 3, H, W): the result at z shows what the image shows at ``points(z)``."""
        batch, _, height, width = images.shape
        grid = coordinate_grid(height, width, images).view(1, -1, 2).expand(batch, -1, -1)
        flow = self.points(grid).view(batch, height, width, 2)
        return F.grid_sample(images, flow, mode="bilinear", padding_mode="reflection", align_corners=align_corners)
