"""Thin-plate splines between two sets of key points: fit and dense evaluation.

A spline maps the plane smoothly so that its control points land on their targets (Bookstein 1989). All coordinates are
(x, y) in -1..1, and everything is float32: half precision would be off by whole pixels. The dense evaluation is
written as sums instead of matrix products, so that no GPU computes it in TF32.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

#: Added to all of the system's diagonal, as the weights were trained with. It also keeps control points that fall
#: together solvable.
_REGULARISATION = 0.01
#: Keeps the logarithm finite at a control point.
_SMALLEST = 1e-9


class Splines(NamedTuple):
    """S splines of P control points each."""

    points: Tensor
    """(B, S, P, 2) control points, in the driving frame."""
    weights: Tensor
    """(B, S, P, 2) weight of each control point's radial function."""
    affine: Tensor
    """(B, S, 2, 3) affine part; the last column is the shift."""


def fit_splines(points: Tensor, targets: Tensor) -> Splines:
    """Fit the splines that map each group of control points to its targets, both (B, S, P, 2)."""
    count = points.shape[2]
    squares = (points[:, :, :, None] - points[:, :, None]).square().sum(-1)
    rows = torch.cat([points, torch.ones_like(points[..., :1])], dim=-1)
    upper = torch.cat([_radial(squares), rows], dim=-1)
    lower = torch.cat([rows.transpose(2, 3), rows.new_zeros(*rows.shape[:2], 3, 3)], dim=-1)
    system = torch.cat([upper, lower], dim=2)
    system.diagonal(dim1=2, dim2=3).add_(_REGULARISATION)
    goals = torch.cat([targets, targets.new_zeros(*targets.shape[:2], 3, 2)], dim=2)
    # Without its check for singular systems, which would wait for the GPU and cannot be captured in a graph. Infinite
    # or not-a-number results show in the frames, which are checked.
    solved, _ = torch.linalg.solve_ex(system, goals)
    return Splines(points, solved[:, :, :count], solved[:, :, count:].transpose(2, 3))


def evaluate(splines: Splines, grid: Tensor) -> Tensor:
    """Return where each spline maps the positions of a grid (h, w, 2), as (B, S, h, w, 2)."""
    x, y = grid.unbind(-1)
    wide = (..., None, None)
    across = (x - splines.points[..., 0][wide]).square()
    radial = _radial(across.add_((y - splines.points[..., 1][wide]).square()))
    parts = []
    for axis in (0, 1):
        scale_x, scale_y, shift = (part[wide] for part in splines.affine[:, :, axis].unbind(-1))
        bend = (radial * splines.weights[..., axis][wide]).sum(2)
        parts.append(bend + scale_x * x + scale_y * y + shift)
    return torch.stack(parts, dim=-1)


def _radial(squares: Tensor) -> Tensor:
    """Return s·ln(s) of squared distances s."""
    return squares * torch.log(squares + _SMALLEST)
