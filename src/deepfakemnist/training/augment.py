"""What may be done to a training picture without changing whether it is fake; torchvision's transforms, by seed."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torchvision.transforms import v2

from deepfakemnist.config.detectors import Augmentation


def augment(pixels: Tensor, kind: Augmentation, seed: int) -> Tensor:
    """Return a changed copy, the same for the same seed, whatever else draws random numbers.

    Args:
        pixels: uint8 RGB, (3, S, S), or (T, 3, S, S) for a clip, whose frames are all changed alike.
        kind: none; flip: mirrored half the time; strong: mirrored, and each of these at times: cut to 80 % and
            more of its area, brightness, contrast and colour by up to 20 %, blur, JPEG of quality 40 to 100.
        seed: of the draws.
    """
    if kind == "none":
        return pixels
    # torchvision draws from torch's global generator, which dropout in this process uses too. torch.manual_seed would
    # seed those of all devices and, where CUDA has not begun, keep a trace of the stack each time.
    state = torch.get_rng_state()
    try:
        torch.default_generator.manual_seed(seed)
        changed: Tensor = _transforms(kind, pixels.shape[-1])(pixels)
    finally:
        torch.set_rng_state(state)
    return changed


@cache
def _transforms(kind: Augmentation, side: int) -> v2.Transform:
    mirror = v2.RandomHorizontalFlip(0.5)
    if kind == "flip":
        return mirror
    return v2.Compose(
        [
            mirror,
            v2.RandomApply([v2.RandomResizedCrop(side, scale=(0.8, 1.0), ratio=(0.95, 1.05), antialias=True)], 0.5),
            v2.RandomApply([v2.ColorJitter(0.2, 0.2, 0.2, 0.05)], 0.5),
            v2.RandomApply([v2.GaussianBlur(5, (0.1, 1.5))], 0.3),
            v2.RandomApply([v2.JPEG((40, 100))], 0.5),
        ]
    )
