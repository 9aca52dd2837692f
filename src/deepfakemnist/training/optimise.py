"""Optimiser, learning-rate schedule and exponential moving average (EMA) of the weights."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from deepfakemnist.config.detectors import DetectorTraining
from deepfakemnist.detectors.base import Detector

if TYPE_CHECKING:
    from timm.utils import ModelEmaV3

_MOMENTUM = 0.9


def make_optimizer(detector: Detector, settings: DetectorTraining) -> torch.optim.Optimizer:
    """Return the optimiser of a recipe over the detector's trainable parameters.

    Biases and norms get no weight decay: pulling a norm's scale towards zero regularises nothing.
    """
    trainable = [parameter for parameter in detector.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    rate = peak_learning_rate(detector, settings)
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=_MOMENTUM)
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=rate)


def peak_learning_rate(detector: Detector, settings: DetectorTraining) -> float:
    """Return the recipe's learning rate, or the detector's default where the recipe has none."""
    return settings.learning_rate or detector.config.learning_rate


def learning_rate_factor(step: int, epoch_steps: int, settings: DetectorTraining) -> float:
    """Return the factor of the peak learning rate in a step.

    A linear warm-up to 1, then the schedule: cosine, half a cosine to 0; step, times ``step_factor`` every
    ``step_epochs``; constant, 1.

    Args:
        step: global step, from 0.
        epoch_steps: steps per epoch.
        settings: training recipe.
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


def make_ema(detector: Detector, decay: float) -> ModelEmaV3:
    """Return timm's moving average of weights and norm statistics; it often scores better than any single step.

    Integer buffers are copied; torch's ``AveragedModel`` would average those too, or no buffer.
    """
    from timm.utils import ModelEmaV3  # imported here: takes a second, which trainings without EMA do not need

    return ModelEmaV3(detector, decay)


def ema_decay(step: int, decay: float) -> float:
    """Return the share of the old average that a step keeps: TensorFlow's warm-up, min(decay, (1 + n) / (10 + n)).

    Without it the average would hold the random initialisation for a thousand steps. timm's warm-up is another curve.

    Args:
        step: n, global step, from 1.
        decay: final share.
    """
    return min(decay, (1 + step) / (10 + step))
