"""Pool of rendered looks on the training device, from which batches of pairs are sampled on the device.

A look of F images contains F·(F - 1) pairs, so a few looks per second feed many steps per second; the newest look
replaces the oldest. Pairs and their perturbations are sampled for the whole batch at once, on the device.
"""

from __future__ import annotations

import numpy as np
import torch
from domain_randomisation import Crops, crop_pairs, randomise_pairs
from render_farm import Look, LookPlan
from torch import Tensor

from deepfakemnist.animate.training.pair_batches import Pairs
from deepfakemnist.animate.training.pairs import aperture_ratios
from deepfakemnist.config.animators.fomm import TrainAnimatorSettings
from deepfakemnist.faces.facial_points import FACIAL_POINTS

#: Candidate pairs from which the most different one is taken, as in ``pairs.PairSampler``.
_CANDIDATES = 6


class LookPool:
    """Ring buffer of up to ``capacity`` looks on a device.

    Args:
        plan: image count and size of the looks.
        capacity: maximum number of looks.
        settings: of which ``size``, ``far_pairs`` and ``aperture_pairs`` are used.
        device: of the buffers.
    """

    def __init__(self, plan: LookPlan, capacity: int, settings: TrainAnimatorSettings, device: torch.device) -> None:
        count, side = plan.pictures, plan.size
        self.settings = settings
        self.added = 0
        """Looks added so far, replaced ones included."""
        self._images = torch.empty(capacity, count, 4, side, side, dtype=torch.uint8, device=device)
        self._rooms = torch.empty(capacity, 3, side, side, dtype=torch.uint8, device=device)
        self._points = torch.empty(capacity, count, len(FACIAL_POINTS), 2, device=device)

    def __len__(self) -> int:
        return min(self.added, len(self._rooms))

    def add(self, look: Look) -> None:
        """Copy a look to the device; a full pool replaces its oldest look."""
        slot, device = self.added % len(self._rooms), self._rooms.device
        self._images[slot] = torch.from_numpy(look.rgba).to(device).permute(0, 3, 1, 2)
        self._rooms[slot] = torch.from_numpy(look.room).to(device).permute(2, 0, 1)
        # -1..1 refers to pixel centres, as with align_corners.
        self._points[slot] = torch.from_numpy(2 * look.points / np.float32(look.room.shape[0] - 1) - 1).to(device)
        self.added += 1

    def sample(self, count: int, random: torch.Generator, augment: bool = True) -> Pairs:
        """Return ``count`` pairs, both images of a pair from one look; ``augment`` randomises and prefers far pairs.

        Args:
            count: number of pairs.
            random: on the device or on the CPU.
            augment: False gives plain centre crops of any two different images.
        """
        device = self._rooms.device
        looks = self._randint(len(self), (count,), random)
        first, second = self._choose_pairs(looks, random) if augment else self._distinct((count,), random)
        chosen = torch.stack([first, second], dim=1)
        rgba = self._images[looks[:, None], chosen].float() / 255
        images, alpha, points = rgba[:, :, :3], rgba[:, :, 3:], self._points[looks[:, None], chosen]
        if augment:
            others = self._randint(len(self), (count,), random)
            room, other = (self._rooms[index].float() / 255 for index in (looks, others))
            images, points = randomise_pairs(images, alpha, points, room, other, self.settings.size, random)
        else:
            crops = Crops.centre(count, device)
            images, points = crop_pairs(images, points, crops, self.settings.size)
        source, driving = (part.contiguous(memory_format=torch.channels_last) for part in images.unbind(1))
        return Pairs(source, driving, points[:, 0], points[:, 1])

    def _choose_pairs(self, looks: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return two image indices per look; for some looks the most different of several candidate pairs."""
        shape = (len(looks), _CANDIDATES)
        first, second = self._distinct(shape, random)
        of_first, of_second = (self._points[looks[:, None], index] for index in (first, second))
        moved = (of_first - of_second).norm(dim=-1).mean(dim=-1)
        opened = (aperture_ratios(of_first) - aperture_ratios(of_second)).abs().amax(dim=-1)
        kind = torch.rand(len(looks), 1, generator=random, device=random.device).to(looks.device)
        far, aperture = self.settings.far_pairs, self.settings.aperture_pairs
        # Elsewhere all candidates score zero, and argmax takes the first, which is random.
        difference = torch.where(kind < far, moved, torch.where(kind < far + aperture, opened, torch.zeros_like(moved)))
        best = difference.argmax(dim=1, keepdim=True)
        return first.gather(1, best)[:, 0], second.gather(1, best)[:, 0]

    def _distinct(self, shape: tuple[int, ...], random: torch.Generator) -> tuple[Tensor, Tensor]:
        images = self._images.shape[1]
        first = self._randint(images, shape, random)
        return first, (first + 1 + self._randint(images - 1, shape, random)) % images

    def _randint(self, limit: int, shape: tuple[int, ...], random: torch.Generator) -> Tensor:
        return torch.randint(limit, shape, generator=random, device=random.device).to(self._rooms.device)
