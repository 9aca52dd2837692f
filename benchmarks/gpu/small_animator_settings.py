"""Settings of ``train_small_animator.py``: network and losses as in the workflow's config, schedule, and rendering."""

from __future__ import annotations

import math
from pathlib import Path

import yaml
from pydantic import Field, NonNegativeInt, PositiveInt

from deepfakemnist.animate.fomm.network import minimum_size, size_multiple
from deepfakemnist.config.animators.fomm import FommModel, TrainAnimatorSettings
from deepfakemnist.config.base import Action, Fraction, Settings
from deepfakemnist.errors import ConfigError


class Animator(Settings):
    """Network and losses; ``train.steps`` and other settings counted in steps or clips are ignored."""

    model: FommModel
    train: TrainAnimatorSettings


class Schedule(Settings):
    """Training phases, as shares of the time."""

    detector_alone: Fraction = Field(description="initial share: the keypoint detector alone")
    generator_alone: Fraction = Field(description="final share: the generator alone, with a frozen detector")
    warm_up_steps: PositiveInt = Field(description="steps of linear learning-rate warm-up")

    def phase(self, share: float) -> str:
        """Return the phase at a share of the time: detector, both or generator."""
        if share < self.detector_alone:
            return "detector"
        return "generator" if share >= 1 - self.generator_alone else "both"


class Rendering(Settings):
    """Rendered looks."""

    heads: PositiveInt = Field(
        le=56, description="heads used, from the first of the bank; those from 56 on are for evaluation"
    )
    pictures: int = Field(ge=2, description="images per look")
    size: PositiveInt = Field(description="side of images before cropping to 0.8 to 1 of it, pixels")
    looks_kept: PositiveInt = Field(description="pool size, from which pairs are sampled; keeps the newest looks")
    held_out_looks: PositiveInt = Field(description="looks not used for training, although their heads are")
    least_looks: PositiveInt = Field(description="looks rendered before the first step")
    shown: list[Action] = Field(min_length=1, description="actions in transfer.png")


class SmallAnimator(Settings):
    """Schema of the settings file."""

    seed: NonNegativeInt
    animator: Animator
    schedule: Schedule
    rendering: Rendering


def read_settings(path: Path, changes: list[str], start_from: Path | None = None) -> SmallAnimator:
    """Read the settings file.

    Args:
        path: YAML file.
        changes: ``KEY=VALUE`` overrides, with a dotted key and a YAML value.
        start_from: initial weights.

    Raises: ConfigError for unsupported values, pydantic's ValidationError for unknown keys.
    """
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    for change in changes:
        key, _, value = change.partition("=")
        *parents, last = key.split(".")
        section = content
        for name in parents:
            section = section[name]
        section[last] = yaml.safe_load(value)
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
            f"animator.train.size is {train.size}; it must be a multiple of {multiple}, at least {smallest}"
        )
    if not train.train_keypoints or train.landmark_steps:
        raise ConfigError("animator.train.train_keypoints and landmark_steps are unused here; set schedule: instead")
    if settings.rendering.size < train.size:
        raise ConfigError(f"rendering.size {settings.rendering.size} is less than animator.train.size {train.size}")
