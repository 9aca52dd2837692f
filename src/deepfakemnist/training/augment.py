"""Label-preserving data augmentation: torchvision transforms that depend on a seed alone."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torchvision.transforms import v2

from deepfakemnist.config.detectors import Augmentation


def augment(pixels: Tensor, kind: Augmentation, seed: int) -> Tensor:
    """Return an augmented copy, the same for the same seed, whatever the state of torch's global generator.

    Args:
        pixels: uint8 RGB, (3, S, S), or (T, 3, S, S) for a clip, whose frames all get the same transform.
        kind: none; flip: a horizontal flip with probability 0.5; strong: the flip, and at random a crop to 80 % of the
            area or more, a change of brightness, contrast and colour by up to 20 %, blur, and JPEG of quality 40 to
            100.
        seed: seed of the random transform.
    """
    if kind == "none":
        return pixels
    # torchvision samples from torch's global generator, which dropout in this process uses too. torch.manual_seed
    # would seed every device and, while CUDA is not initialised, store a stack trace on each call.
    state = torch.get_rng_state()
    try:
        torch.default_generator.manual_seed(seed)
        augmented: Tensor = _transforms(kind, pixels.shape[-1])(pixels)
    finally:
        torch.set_rng_state(state)
    return augmented


@cache
def _transforms(kind: Augmentation, side: int) -> v2.Transform:
    flip = v2.RandomHorizontalFlip(0.5)
    if kind == "flip":
        return flip
    return v2.Compose(
        [
            flip,
            v2.RandomApply([v2.RandomResizedCrop(side, scale=(0.8, 1.0), ratio=(0.95, 1.05), antialias=True)], 0.5),
            v2.RandomApply([v2.ColorJitter(0.2, 0.2, 0.2, 0.05)], 0.5),
            v2.RandomApply([v2.GaussianBlur(5, (0.1, 1.5))], 0.3),
            v2.RandomApply([v2.JPEG((40, 100))], 0.5),
        ]
    )
