"""The whole config: validated before any job, with errors that name the key, the value and what is allowed."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, PositiveInt, ValidationError, model_validator

from deepfakemnist.config.animator import AnimatorSettings
from deepfakemnist.config.base import MIXED, Fraction, Settings
from deepfakemnist.config.dataset import CompressSettings, DatasetSettings, FrameSettings, ReleaseSettings
from deepfakemnist.config.detectors import EvaluationSettings, TrainingSettings
from deepfakemnist.config.liveness import PROVIDER_NAMES, LivenessSettings
from deepfakemnist.config.stages import (
    AnimationQualitySettings,
    CropSettings,
    DriverSettings,
    PlanSettings,
    SourceSettings,
)
from deepfakemnist.errors import ConfigError


class Config(Settings):
    """config/config.yaml. Every key is explained there; config/README.md describes the sheets."""

    seed: int = Field(ge=0, description="decides splits, assignment, training; same seed, same dataset")
    shard_size: Literal["auto"] | PositiveInt = Field(
        "auto", description="videos per job; auto: one up to 200 videos, about 400 shards per stage beyond"
    )
    max_failed_fraction: Fraction = Field(
        0.1, description="share of a stage's videos that may fail before the run stops"
    )
    device: Literal["auto", "cuda", "cpu"] = Field(
        "auto",
        description="where networks run. auto: on a GPU where the job finds one; cuda also asks the scheduler for one, "
        "as auto does on a machine that has one; cpu: never",
    )
    gpu_share: PositiveInt = Field(
        1, description="jobs that may use a GPU at the same time; each job of a machine takes a free one"
    )
    clips_per_gpu_job: Literal["auto"] | PositiveInt | None = Field(
        "auto",
        description="clips that one job animates, or drivers whose keypoints it computes: on a GPU a start takes as "
        "long as tens of clips. auto: about 800 where there is a GPU, else a job per shard; results go on as they were "
        "begun. A number: about so many, within a factor of 1.5, also without a GPU. null: a job per shard. With "
        "another value than results were made with, they are made again from here",
    )
    ffmpeg: Path | None = Field(
        None, description="ffmpeg to use; null: $IMAGEIO_FFMPEG_EXE, then PATH, then the one in imageio-ffmpeg"
    )
    sources: SourceSettings
    drivers: DriverSettings
    crop: CropSettings
    plan: PlanSettings
    animator: AnimatorSettings
    judge: AnimationQualitySettings = Field(default_factory=AnimationQualitySettings)
    liveness: LivenessSettings
    compress: CompressSettings
    frames: FrameSettings
    dataset: DatasetSettings = Field(default_factory=DatasetSettings)
    release: ReleaseSettings = Field(default_factory=ReleaseSettings)
    training: TrainingSettings
    evaluation: EvaluationSettings
    pathvars: dict[str, str] = Field(
        default_factory=dict, description="Snakemake's path variables, e.g. results: another folder for the outputs"
    )

    @model_validator(mode="after")
    def _parts_agree(self) -> Config:
        if MIXED in self.compress.qualities:
            raise ValueError(
                f"compress.qualities: {MIXED!r} is reserved; in training.trained_on it means all qualities"
            )
        if self.sources.released is not None and (self.plan.quota is not None or self.plan.reals == "of_fakes"):
            raise ValueError(
                "plan.quota and plan.reals of_fakes are about fakes made by the run; sources.released holds finished "
                "ones, all of which are taken. Leave them at null and all"
            )
        if unknown := self.training.unknown_sets(self.compress.qualities, self.plan.actions):
            raise ValueError(
                f"training.trained_on names {unknown}; allowed are {[*self.compress.qualities, MIXED]}, and each "
                f"with -only-ACTION or -without-ACTION, where ACTION is each or one of {', '.join(self.plan.actions)}"
            )
        return self


def load_config(raw: dict[str, Any]) -> Config:
    """Validate a config as Snakemake merged it. Raises ConfigError that lists every problem at once."""
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        lines = [_explain(problem) for problem in error.errors()]
        raise ConfigError("the config is not usable:\n  " + "\n  ".join(lines)) from None
    problems = [
        f"{key}: {str(path)!r} is not a file{_hint(key)}" for key, path in _named_files(config) if not path.is_file()
    ]
    if problems:
        raise ConfigError("the config names files that do not exist:\n  " + "\n  ".join(problems))
    return config


def _named_files(config: Config) -> list[tuple[str, Path]]:
    named: list[tuple[str, Path | None]] = [
        ("ffmpeg", config.ffmpeg),
        ("sources.sheet", config.sources.sheet),
        ("drivers.sheet", config.drivers.sheet),
        # What can be fetched need not be there yet.
        ("animator.weights", None if config.animator.weights_url else config.animator.weights),
        ("animator.train.vgg19.path", config.animator.train.vgg19.path if config.animator.train.vgg19 else None),
        ("sources.exclude", config.sources.exclude),
        ("sources.vox_metadata.csv", config.sources.vox_metadata.csv if config.sources.vox_metadata else None),
        ("liveness.motions", config.liveness.motions),
    ]
    if config.sources.released is not None:  # nothing is animated, nobody is asked
        return [(key, path) for key, path in named if path is not None and key in ("ffmpeg", "sources.exclude")]
    for index, provider in enumerate(config.liveness.providers):
        if provider.provider == "local-silent":
            for name in ("minifasnet_v2", "minifasnet_v1se"):
                named.append((f"liveness.providers.{index}.{name}.path", getattr(provider, name).path))
    return [(key, path) for key, path in named if path is not None]


def _hint(key: str) -> str:
    if key.endswith("sheet"):
        return "; config/README.md describes the sheet, and make demo runs on embedded clips"
    if key.startswith(("animator", "liveness")):
        return "; config/README.md says where to get it, and its sha256"
    return ""


def _explain(problem: Any) -> str:
    # Tags of discriminated unions stand in the location, but not in the user's file.
    loc = [part for part in problem["loc"] if part not in (*PROVIDER_NAMES, "constrained-int", "literal['auto']")]
    key = ".".join(str(part) for part in loc) or "config"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        return f"{key}: is missing"
    if problem["type"] == "extra_forbidden":
        allowed = _keys_at(loc[:-1])
        near = difflib.get_close_matches(str(loc[-1]), allowed, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"{key}: there is no such key{hint} Allowed here: {', '.join(allowed) or 'see config/README.md'}"
    if isinstance(problem["input"], (dict, BaseModel)):
        return f"{key}: {message}"
    return f"{key}: {problem['input']!r} is not allowed: {message}"


def _keys_at(loc: list[Any]) -> list[str]:
    """Return the keys of the settings model at a location of the config."""
    model: Any = Config
    for part in loc:
        if not (isinstance(model, type) and issubclass(model, BaseModel)) or part not in model.model_fields:
            return []
        annotation = model.model_fields[part].annotation
        model = annotation
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []
