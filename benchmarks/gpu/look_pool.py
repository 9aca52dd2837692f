"""Looks kept on the training's device, and pairs drawn from them without the CPU.

A look of F pictures holds F·(F - 1) pairs, so a few looks a second keep many steps a second busy; the newest look takes
the place of the oldest. Everything about a pair is drawn for the whole batch at once, on the device.
"""

from __future__ import annotations

import numpy as np
import torch
from random_pictures import Crops, crop_of, randomised
from render_farm import Look, LookPlan
from torch import Tensor

from deepfakemnist.animate.training.pairs import Pairs, openings
from deepfakemnist.config.animator import TrainAnimatorSettings
from deepfakemnist.faces.facial_points import FACIAL_POINTS

#: Pairs among which a far one is chosen, as ``pairs.PairSampler`` does.
_CANDIDATES = 6


class LookPool:
    """Up to ``capacity`` looks on a device.

    Args:
        plan: of the looks.
        capacity: looks kept.
        settings: ``size``, ``far_pairs`` and ``aperture_pairs``.
        device: where they are kept.
    """

    def __init__(self, plan: LookPlan, capacity: int, settings: TrainAnimatorSettings, device: torch.device) -> None:
        count, side = plan.pictures, plan.size
        self.settings = settings
        self.added = 0
        """Looks that have come, those that were replaced included."""
        self._pictures = torch.empty(capacity, count, 4, side, side, dtype=torch.uint8, device=device)
        self._rooms = torch.empty(capacity, 3, side, side, dtype=torch.uint8, device=device)
        self._points = torch.empty(capacity, count, len(FACIAL_POINTS), 2, device=device)

    def __len__(self) -> int:
        return min(self.added, len(self._rooms))

    def add(self, look: Look) -> None:
        """Copy a look to the device, in the place of the oldest where the pool is full."""
        place, device = self.added % len(self._rooms), self._rooms.device
        self._pictures[place] = torch.from_numpy(look.pictures).to(device).permute(0, 3, 1, 2)
        self._rooms[place] = torch.from_numpy(look.room).to(device).permute(2, 0, 1)
        # Of pixels' centres, as -1..1 is everywhere here.
        self._points[place] = torch.from_numpy(2 * look.points / np.float32(look.room.shape[0] - 1) - 1).to(device)
        self.added += 1

    def draw(self, count: int, random: torch.Generator, augment: bool = True) -> Pairs:
        """Return ``count`` pairs of pictures of one look each; ``augment`` perturbs them and prefers far pairs.

        Args:
            count: pairs.
            random: on the device, or on the CPU.
            augment: false gives plain middle crops of any two different pictures.
        """
        device = self._rooms.device
        looks = self._below(len(self), (count,), random)
        first, second = self._choose(looks, random) if augment else self._different((count,), random)
        chosen = torch.stack([first, second], dim=1)
        seen = self._pictures[looks[:, None], chosen].float() / 255
        pictures, share, points = seen[:, :, :3], seen[:, :, 3:], self._points[looks[:, None], chosen]
        if augment:
            room, other = (
                self._rooms[which].float() / 255 for which in (looks, self._below(len(self), (count,), random))
            )
            pictures, points = randomised(pictures, share, points, room, other, self.settings.size, random)
        else:
            crops = Crops.middle(count, device)
            pictures, points = crop_of(pictures, points, crops, self.settings.size)
        source, driving = (part.contiguous(memory_format=torch.channels_last) for part in pictures.unbind(1))
        return Pairs(source, driving, points[:, 0], points[:, 1])

    def _choose(self, looks: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return pictures of each look, some of them the most different of several pairs."""
        shape = (len(looks), _CANDIDATES)
        first, second = self._different(shape, random)
        of_first, of_second = (self._points[looks[:, None], which] for which in (first, second))
        moved = (of_first - of_second).norm(dim=-1).mean(dim=-1)
        opened = (openings(of_first) - openings(of_second)).abs().amax(dim=-1)
        kind = torch.rand(len(looks), 1, generator=random, device=random.device).to(looks.device)
        far, aperture = self.settings.far_pairs, self.settings.aperture_pairs
        # Where neither is asked for all are alike, and the first is taken, as good as any.
        unlike = torch.where(kind < far, moved, torch.where(kind < far + aperture, opened, torch.zeros_like(moved)))
        best = unlike.argmax(dim=1, keepdim=True)
        return first.gather(1, best)[:, 0], second.gather(1, best)[:, 0]

    def _different(self, shape: tuple[int, ...], random: torch.Generator) -> tuple[Tensor, Tensor]:
        pictures = self._pictures.shape[1]
        first = self._below(pictures, shape, random)
        return first, (first + 1 + self._below(pictures - 1, shape, random)) % pictures

    def _below(self, limit: int, shape: tuple[int, ...], random: torch.Generator) -> Tensor:
        return torch.randint(limit, shape, generator=random, device=random.device).to(self._rooms.device)
