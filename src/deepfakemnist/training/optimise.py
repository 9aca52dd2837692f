"""How weights move: the optimiser, the learning rate of every step, and the moving average of the weights."""

from __future__ import annotations

import copy
import math

import torch
from torch import nn

from deepfakemnist.config.detectors import DetectorTraining
from deepfakemnist.detectors.base import Detector

_MOMENTUM = 0.9


def make_optimizer(detector: Detector, settings: DetectorTraining) -> torch.optim.Optimizer:
    """Return the optimiser of a recipe over what the detector lets be trained.

    Weight decay spares biases and norms: to pull a norm's scale towards zero means nothing.
    """
    trained = [parameter for parameter in detector.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    rate = peak_learning_rate(detector, settings)
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=_MOMENTUM)
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=rate)


def peak_learning_rate(detector: Detector, settings: DetectorTraining) -> float:
    """Return the recipe's learning rate, or the detector's own where the recipe has none."""
    return settings.learning_rate or detector.config.learning_rate


def learning_rate_factor(step: int, epoch_steps: int, settings: DetectorTraining) -> float:
    """Return what the learning rate is multiplied by in a step.

    First a line up to 1, then: cosine, half a cosine to 0; step, a fall every ``step_epochs``; constant, 1.

    Args:
        step: from 0, over all epochs.
        epoch_steps: steps of an epoch.
        settings: the recipe.
    """
    steps = epoch_steps * settings.epochs
    warm_up = math.ceil(settings.warm_up * steps)
    if step < warm_up:
        return (step + 1) / warm_up
    if settings.schedule == "constant":
        return 1.0
    if settings.schedule == "step":
        return float(settings.step_factor ** (step // epoch_steps // settings.step_epochs))
    return 0.5 * (1.0 + math.cos(math.pi * (step - warm_up) / max(steps - warm_up, 1)))


class MovingAverage:
    """A detector whose weights and norms follow another's slowly; it is often better than any single step of it.

    The average begins quickly, by the rule min(decay, (1 + n) / (10 + n)) of step n, or it would hold the random start
    for a thousand steps.

    Args:
        detector: the one that is trained.
        decay: share of the old average that is kept in a step.
    """

    def __init__(self, detector: Detector, decay: float) -> None:
        self.detector = copy.deepcopy(detector).requires_grad_(False).eval()
        self.decay = decay
        self.steps = 0

    @torch.no_grad()
    def update(self, trained: nn.Module) -> None:
        """Take one step towards the trained weights."""
        self.steps += 1
        keep = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for average, now in zip(self.detector.state_dict().values(), trained.state_dict().values(), strict=True):
            if average.is_floating_point():
                average.lerp_(now, 1.0 - keep)
            else:
                average.copy_(now)
