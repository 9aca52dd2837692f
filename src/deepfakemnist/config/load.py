"""Config loading and validation.

Runs before any job; errors name the key, the value and what is allowed.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from math import ceil
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, PositiveInt, SerializeAsAny, ValidationError, model_validator

from deepfakemnist.config.animators.base import AnimatorSettings
from deepfakemnist.config.animators.fomm import FommSettings
from deepfakemnist.config.animators.registry import CLASSES, AnyAnimator, animator_settings
from deepfakemnist.config.base import MIXED, Fraction, Settings
from deepfakemnist.config.dataset import CompressSettings, DatasetSettings, FrameSettings, ReleaseSettings
from deepfakemnist.config.detectors import EvaluationSettings, TrainingSettings
from deepfakemnist.config.disk import DiskSettings
from deepfakemnist.config.liveness import PROVIDER_NAMES, LivenessSettings
from deepfakemnist.config.report import ReportSettings
from deepfakemnist.config.stages import (
    MOTION_JUDGED_FROM_S,
    AnimationQualitySettings,
    CropSettings,
    DriverSettings,
    PlanSettings,
    ReenactmentSettings,
    SelectSettings,
    SourceSettings,
)
from deepfakemnist.config.storage import StorageSettings
from deepfakemnist.config.training_sets import PAPER, parse_training_set
from deepfakemnist.errors import ConfigError


class Config(Settings):
    """Workflow config, documented in config/config.yaml; config/README.md describes the sample sheets."""

    seed: int = Field(
        ge=0, description="random seed of splits, assignment and training; same seed and inputs, same dataset"
    )
    shard_size: Literal["auto"] | PositiveInt | Annotated[str, Field(pattern=r"^[1-9][0-9]{0,3}min$")] = Field(
        "auto",
        description="videos per job, within a factor of 1.5; 10min: as many as take about ten minutes, for clusters; "
        "auto: four videos per job, but about ten minutes from 64 jobs per stage on. A change re-runs everything",
    )
    max_failed_fraction: Fraction = Field(
        0.1, description="maximum fraction of a stage's videos that may fail before the run stops"
    )
    device: Literal["auto", "cuda", "cpu"] = Field(
        "auto",
        description="device of all networks. auto: a GPU if this machine has one, or if the resources of a cluster "
        "profile request one; cuda: always request one from the scheduler; cpu: no GPU",
    )
    gpu_share: PositiveInt = Field(1, description="maximum concurrent jobs per GPU; each job takes a free one")
    clips_per_gpu_job: Literal["auto"] | PositiveInt | None = Field(
        "auto",
        description="clips per animate job, or drivers per extract_motion job; on a GPU, job start-up costs as much as "
        "tens of clips. auto: about 800 with a GPU, else one shard per job; existing results keep their layout. A "
        "number: within a factor of 1.5, with or without a GPU. null: one shard per job. A change re-runs "
        "extract_motion and all later stages",
    )
    ffmpeg: Path | None = Field(
        None, description="ffmpeg executable; null: $IMAGEIO_FFMPEG_EXE, then PATH, then that of imageio-ffmpeg"
    )
    sources: SourceSettings
    drivers: DriverSettings
    crop: CropSettings
    plan: PlanSettings
    animators: list[SerializeAsAny[AnyAnimator]] = Field(
        default_factory=lambda: [animator_settings()],
        min_length=1,
        description="animators, to each of which its share of the sources is dealt; null: one, name: auto. A run with "
        "one may write animator: instead, with its settings",
    )
    judge: AnimationQualitySettings = Field(default_factory=AnimationQualitySettings)
    reenact: ReenactmentSettings = Field(default_factory=ReenactmentSettings)
    liveness: LivenessSettings
    select: SelectSettings = Field(default_factory=SelectSettings)
    compress: CompressSettings
    frames: FrameSettings
    dataset: DatasetSettings = Field(default_factory=DatasetSettings)
    release: ReleaseSettings = Field(default_factory=ReleaseSettings)
    training: TrainingSettings
    evaluation: EvaluationSettings
    report: ReportSettings = Field(default_factory=ReportSettings)
    storage: StorageSettings = Field(default_factory=StorageSettings)
    disk: DiskSettings = Field(default_factory=DiskSettings)
    pathvars: dict[str, str] = Field(
        default_factory=dict, description="Snakemake path variables, e.g. results: output folder"
    )

    @model_validator(mode="before")
    @classmethod
    def _one_animator(cls, given: Any) -> Any:
        """Take ``animator``, short for a list with one entry."""
        if not isinstance(given, Mapping):
            return given
        rest = {key: value for key, value in given.items() if key != "animator"}
        one, several = given.get("animator"), given.get("animators")
        if one is None:
            if several is None:
                rest.pop("animators", None)
            return rest
        if several is not None:
            raise ValueError("animator is short for animators with one entry; set one of the two, and not both")
        return {**rest, "animators": [one]}

    @property
    def trained_animator(self) -> FommSettings | None:
        """The animator that this run trains; None if all have weights or need none."""
        return next(iter(self._trained()), None)

    def _trained(self) -> list[FommSettings]:
        return [one for one in self.animators if isinstance(one, FommSettings) and one.needs_training]

    @property
    def animator_suffixes(self) -> dict[str, str]:
        """Label of each animator → what names its shards: nothing for the first, so that others can join later."""
        return {one.named: one.named if place else "" for place, one in enumerate(self.animators)}

    @property
    def training_sets(self) -> list[str]:
        """Names of all training sets, with ``each`` expanded."""
        return self.training.sets(self.plan.actions, self.animator_suffixes, self.dataset.folds)

    def animator_of(self, suffix: str) -> AnimatorSettings:
        """Return the animator that is named in a shard; the first one if none is. Raises: KeyError."""
        return {("" if place == 0 else one.named): one for place, one in enumerate(self.animators)}[suffix]

    @property
    def used_source_frames(self) -> int | None:
        """Frames of a source's crop that later stages use: ``crop`` reads no more. None: all.

        What ``compress.max_frames`` keeps, and what the gates of the crop and ``animator.source_frame`` look at.
        """
        trained_on_crops = self.trained_animator is not None and not self.trained_animator.train.clips
        if self.compress.max_frames is None or trained_on_crops:
            return None
        animated = [1 if one.source_frame == "best" else one.source_frame + 1 for one in self.animators]
        judged = ceil(MOTION_JUDGED_FROM_S * self.crop.fps)
        return max(self.compress.max_frames, self.crop.min_frames, judged, *animated)

    @model_validator(mode="after")
    def _animators_differ(self) -> Config:
        labels = [one.named for one in self.animators]
        if twice := sorted({label for label in labels if labels.count(label) > 1}):
            raise ValueError(f"animators: {', '.join(twice)} twice; give each entry its own label, e.g. {twice[0]}-b")
        if self.plan.quota is None and (own := [one.named for one in self.animators if one.quota is not None]):
            raise ValueError(
                f"animators: {', '.join(own)} with quota, but plan.quota is null; set it for the others too"
            )
        trained = self._trained()
        if any(_weights_of(one) != _weights_of(trained[0]) for one in trained):
            raise ValueError(
                f"animators: {', '.join(one.named for one in trained)} would be trained with different settings, but a "
                "run trains one; give the others weights, trained in a run of their own"
            )
        return self

    @model_validator(mode="after")
    def _sections_agree(self) -> Config:
        if MIXED in self.compress.qualities:
            raise ValueError(f"compress.qualities: {MIXED!r} is reserved for all qualities in training.trained_on")
        if self.sources.released is not None and (self.plan.quota is not None or self.plan.reals == "of_fakes"):
            raise ValueError(
                "plan.quota and plan.reals: of_fakes apply to fakes made by the run, but sources.released imports "
                "finished ones and keeps all; set quota: null and reals: all"
            )
        if self.sources.released is not None and self.storage.media == "packed":
            raise ValueError("storage.media: packed does not apply to sources.released, whose clips stay in their tree")
        vendors = [str(one.provider) for one in self.liveness.providers if not one.provider.startswith("local-")]
        if self.storage.media == "packed" and vendors and self.liveness.calls_from != "login":
            raise ValueError(
                f"storage.media: packed, with {', '.join(vendors)}, needs liveness.calls_from: login: paid answers are "
                "kept in a folder, and jobs that share none would lose them"
            )
        folders = [one.named for one in self.animators if len(one.weight_files) > 1]
        if self.storage.media == "packed" and folders:
            raise ValueError(
                f"storage.media: packed sends single files to jobs, and weights of {', '.join(folders)} are a folder; "
                "pack it by `deepfakemnist animator convert FOLDER FILE.safetensors`"
            )
        elsewhere = [one.named for one in self.animators if not one.renders_here]
        if self.storage.media == "packed" and elsewhere:
            raise ValueError(
                f"storage.media: packed does not send the clips of {', '.join(elsewhere)} to jobs; use media: files"
            )
        if self.disk.intermediate == "remove" and self.storage.media == "packed":
            raise ValueError(
                "disk.intermediate: remove deletes clips, but with storage.media: packed the archives hold them too; "
                "set one of the two to its default"
            )
        unusable = self.training.unusable_sets(
            self.compress.qualities, self.plan.actions, self.animator_suffixes, self.dataset.folds
        )
        if unusable:
            problems = "; ".join(f"{name!r} {problem}" for name, problem in unusable.items())
            raise ValueError(
                f"training.trained_on: {problems}. A name is QUALITY, or QUALITY with -only-ACTION, -without-ACTION, "
                "-only-ANIMATOR, -without-ANIMATOR or -by-driver, then -people-PERCENT, then -split-paper or -fold-K"
            )
        if self.sources.released is not None:
            by_video = [name for name in self.training.trained_on if parse_training_set(name).split == PAPER]
            if by_video:
                raise ValueError(
                    f"training.trained_on: {by_video} split by video as in the paper, but clips of sources.released "
                    "keep the split of their authors, which is that one; name the quality alone"
                )
        return self


def load_config(raw: dict[str, Any]) -> Config:
    """Validate a config as merged by Snakemake. Raises ConfigError listing all problems."""
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        lines = [_explain(problem, short="animator" in raw) for problem in error.errors()]
        raise ConfigError("invalid config:\n  " + "\n  ".join(lines)) from None
    problems = [
        f"{key}: {str(path)!r} is not a file{_hint(key)}" for key, path in _named_files(config) if not path.is_file()
    ]
    if problems:
        raise ConfigError("missing files in the config:\n  " + "\n  ".join(problems))
    return config


def _named_files(config: Config) -> list[tuple[str, Path]]:
    named: list[tuple[str, Path | None]] = [
        ("ffmpeg", config.ffmpeg),
        ("sources.sheet", config.sources.sheet),
        ("drivers.sheet", config.drivers.sheet),
        ("sources.exclude", config.sources.exclude),
        ("sources.vox_metadata.csv", config.sources.vox_metadata.csv if config.sources.vox_metadata else None),
        ("liveness.motions", config.liveness.motions),
    ]
    if config.sources.released is not None:  # no animation, no liveness
        return [(key, path) for key, path in named if path is not None and key in ("ffmpeg", "sources.exclude")]
    for index, animator in enumerate(config.animators):
        key = f"animators.{index}" if len(config.animators) > 1 else "animator"
        # Weights with a URL may be downloaded later.
        if not getattr(animator, "weights_url", None):
            named.extend((f"{key}.weights", file) for file in animator.weight_files)
        if isinstance(animator, FommSettings) and animator.train.vgg19:
            named.append((f"{key}.train.vgg19.path", animator.train.vgg19.path))
    for index, provider in enumerate(config.liveness.providers):
        if provider.provider == "local-silent":
            for name in ("minifasnet_v2", "minifasnet_v1se"):
                named.append((f"liveness.providers.{index}.{name}.path", getattr(provider, name).path))
    return [(key, path) for key, path in named if path is not None]


def _hint(key: str) -> str:
    if key.endswith("sheet"):
        return "; config/README.md describes the sheet, and `make demo` runs on bundled clips"
    if key.startswith(("animator", "liveness")):
        return "; config/README.md says where to get it and gives its sha256"
    return ""


def _weights_of(settings: FommSettings) -> object:
    """Return what decides the weights of a trained animator."""
    return settings.model_dump(include={"model", "train", "align_corners"})


def _explain(problem: Any, short: bool) -> str:
    """Return a line for a problem of the config.

    Args:
        problem: from pydantic.
        short: the config has ``animator`` instead of a list.
    """
    # pydantic's location includes union tags, which are not keys of the user's file.
    tags = (*PROVIDER_NAMES, *CLASSES, "constrained-int", "literal['auto']", "literal['best']")
    loc = [part for part in problem["loc"] if part not in tags]
    shown = ["animator", *loc[2:]] if short and loc[:2] == ["animators", 0] else loc
    key = ".".join(str(part) for part in shown) or "config"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        return f"{key}: missing"
    if problem["type"] == "extra_forbidden":
        allowed = _keys_at(loc[:-1], problem["loc"])
        near = difflib.get_close_matches(str(loc[-1]), allowed, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        return f"{key}: unknown key{hint} Allowed here: {', '.join(allowed) or 'see config/README.md'}"
    if isinstance(problem["input"], (dict, BaseModel)):
        return f"{key}: {message}"
    return f"{key}: {problem['input']!r} is not allowed: {message}"


def _keys_at(loc: list[Any], tagged: tuple[Any, ...]) -> list[str]:
    """Return the keys allowed at a location of the config; ``tagged`` is the same with the names of classes."""
    model: Any = Config
    if tagged[0] == "animators":
        model, loc = CLASSES[tagged[2]], loc[2:]
    for part in loc:
        if not (isinstance(model, type) and issubclass(model, BaseModel)) or part not in model.model_fields:
            return []
        annotation = model.model_fields[part].annotation
        model = annotation
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []
