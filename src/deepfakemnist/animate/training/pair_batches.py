"""Batches of frame pairs: plans drawn at random, frames as stored, and pictures augmented on the training device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from deepfakemnist.faces.facial_points import MIRRORED


class Pairs(NamedTuple):
    """Batch of frame pairs: the animated source shall reconstruct the driving frame of the same clip."""

    source: Tensor
    """(B, 3, H, W) in 0..1."""
    driving: Tensor
    source_points: Tensor | None
    """(B, P, 2) facial points in -1..1, NaN where unknown."""
    driving_points: Tensor | None

    def to(self, device: torch.device) -> Pairs:
        """Return the batch on ``device``."""
        source, driving, *points = (None if part is None else part.to(device) for part in self)
        assert source is not None and driving is not None
        return Pairs(source, driving, *points)


class PairPlan(NamedTuple):
    """What one pair of a batch is: everything that is random about it, nothing that takes time."""

    clip: int
    frames: tuple[int, int]
    """Source and driving frame."""
    mirrored: bool = False
    gain: Tensor | None = None
    """(3, 1, 1) factor of each colour channel; None without colour jitter."""
    offset: Tensor | None = None
    """() offset of all channels."""


class PairBatch(NamedTuple):
    """Batch of frame pairs as stored, with the augmentation that is to be applied; small, to be copied to a GPU."""

    frames: Tensor
    """(B, 2, 3, S, S) uint8: source and driving frame."""
    points: Tensor | None
    """(B, 2, P, 2) facial points in -1..1 of the augmented pictures, NaN where unknown; None where a clip has none."""
    mirrored: Tensor
    """(B,) bool."""
    gain: Tensor | None
    """(B, 1, 3, 1, 1)."""
    offset: Tensor | None
    """(B, 1, 1, 1, 1)."""

    @classmethod
    def of(cls, frames: list[Tensor], points: list[Tensor | None], plans: Sequence[PairPlan]) -> PairBatch:
        """Collate pairs (2, 3, S, S) uint8 and their facial points (2, P, 2)."""
        known = [
            _mirrored(where) if plan.mirrored else where
            for where, plan in zip(points, plans, strict=True)
            if where is not None
        ]
        gains = [plan.gain for plan in plans if plan.gain is not None]
        offsets = [plan.offset for plan in plans if plan.offset is not None]
        return cls(
            torch.stack(frames),
            torch.stack(known) if len(known) == len(plans) else None,
            torch.tensor([plan.mirrored for plan in plans]),
            torch.stack(gains)[:, None] if gains else None,
            torch.stack(offsets).view(-1, 1, 1, 1, 1) if offsets else None,
        )

    def to(self, device: torch.device) -> PairBatch:
        """Return the batch on ``device``, without waiting for copies from pinned memory."""
        frames, points, mirrored, gain, offset = (
            None if part is None else part.to(device, non_blocking=True) for part in self
        )
        assert frames is not None and mirrored is not None
        return PairBatch(frames, points, mirrored, gain, offset)

    def pairs(self) -> Pairs:
        """Return the pictures, augmented; both frames of a pair alike.

        The animator must not learn to change colours.
        """
        both = self.frames.float() / 255
        mirrored = self.mirrored.view(-1, 1, 1, 1, 1)
        both = torch.where(mirrored, both.flip(-1), both)
        if self.gain is not None and self.offset is not None:
            both = (both * self.gain + self.offset).clamp(0, 1)
        if self.points is None:
            return Pairs(both[:, 0], both[:, 1], None, None)
        return Pairs(both[:, 0], both[:, 1], self.points[:, 0], self.points[:, 1])


def _mirrored(points: Tensor) -> Tensor:
    """Return the facial points (..., P, 2) of the mirrored picture."""
    return points[..., MIRRORED, :] * torch.tensor([-1.0, 1.0])
