"""Settings of ``train_small_animator.py``: network and losses as the workflow names them, time, and looks."""

from __future__ import annotations

import math
from pathlib import Path

import yaml
from pydantic import Field, NonNegativeInt, PositiveInt

from deepfakemnist.animate.fomm.network import minimum_size, size_multiple
from deepfakemnist.config.animator import FommModel, TrainAnimatorSettings
from deepfakemnist.config.base import Action, Fraction, Settings
from deepfakemnist.errors import ConfigError


class Animator(Settings):
    """What is trained and on which losses; ``train.steps`` and whatever counts in steps or clips does not matter."""

    model: FommModel
    train: TrainAnimatorSettings


class Schedule(Settings):
    """What is trained when, in shares of the time."""

    detector_alone: Fraction = Field(description="at first, the keypoint detector alone")
    generator_alone: Fraction = Field(description="at the end, the generator alone, on keypoints that stay")
    warm_up_steps: PositiveInt = Field(description="over which the learning rate rises")

    def phase(self, share: float) -> str:
        """Return detector, both or generator."""
        if share < self.detector_alone:
            return "detector"
        return "generator" if share >= 1 - self.generator_alone else "both"


class Rendering(Settings):
    """What is rendered."""

    heads: PositiveInt = Field(le=56, description="heads of the bank, from the first; those from 56 on measure")
    pictures: int = Field(ge=2, description="of each look")
    size: PositiveInt = Field(description="side of pictures before they are cropped to 0.8 to 1 of it")
    looks_kept: PositiveInt = Field(description="the newest looks, from which pairs are drawn")
    held_out_looks: PositiveInt = Field(description="looks that are not trained on; their heads are")
    least_looks: PositiveInt = Field(description="looks before the first step")
    shown: list[Action] = Field(min_length=1, description="actions in transfer.png")


class SmallAnimator(Settings):
    """The settings file."""

    seed: NonNegativeInt
    animator: Animator
    schedule: Schedule
    rendering: Rendering


def read_settings(path: Path, changes: list[str], start_from: Path | None = None) -> SmallAnimator:
    """Read the settings file.

    Args:
        path: YAML.
        changes: ``KEY=VALUE`` to put in, the key with dots, the value as YAML.
        start_from: weights to begin with.

    Raises: ConfigError for settings that cannot be trained with, pydantic's ValidationError for unknown ones.
    """
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    for change in changes:
        key, _, value = change.partition("=")
        *parents, last = key.split(".")
        place = content
        for name in parents:
            place = place[name]
        place[last] = yaml.safe_load(value)
    if start_from is not None:
        content["animator"]["train"]["start_from"] = str(start_from)
    settings = SmallAnimator.model_validate(content)
    _check(settings)
    return settings


def _check(settings: SmallAnimator) -> None:
    model, train = settings.animator.model, settings.animator.train
    multiple, smallest = math.lcm(8, size_multiple(model)), minimum_size(model)
    if train.size % multiple or train.size < smallest:
        raise ConfigError(
            f"animator.train.size is {train.size}; this takes multiples of {multiple}, at least {smallest}"
        )
    if not train.train_keypoints or train.landmark_steps:
        raise ConfigError("animator.train.train_keypoints and landmark_steps are not for here; schedule: says it")
    if settings.rendering.size < train.size:
        raise ConfigError(f"rendering.size is {settings.rendering.size}, less than animator.train.size, {train.size}")
