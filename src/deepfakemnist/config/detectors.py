"""Detector settings: architectures, training recipes, training sets, evaluation protocols.

Few imports, because Snakemake loads them each time it parses the workflow, once per job.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, field_validator, model_validator

from deepfakemnist.config.base import Fraction, Name, Settings, WeightFile
from deepfakemnist.config.plugins import DETECTORS, Plugin, named
from deepfakemnist.config.training_sets import expand, problem_of

#: Names in the registry of deepfakemnist.detectors; a test keeps the two in sync.
DETECTOR_NAMES = (
    "resnet50",
    "resnet101",
    "resnet152",
    "xception",
    "efficientnet_b4",
    "convnext_tiny",
    "meso4",
    "mesoinception4",
    "meso4_sharedbn",
    "clip_probe",
    "clip_norms",
    "dct_resnet18",
    "framediff_resnet18",
    "r2plus1d_18",
)
_TIMM_NAME = re.compile(r"timm:[a-z0-9_]+(\.[a-z0-9_]+)?")
_LABEL = re.compile(r"[a-z0-9_]+")

Sampling = Literal["class", "action", "natural"]
Augmentation = Literal["none", "flip", "strong"]

#: Training recipes by name; a recipe fills in the values that the config omits.
PRESETS: dict[str, dict[str, Any]] = {
    # The authors published neither code nor recipe; these are the defaults of the field at that time (FaceForensics++,
    # DeepfakeBench): Adam at a constant rate, horizontal flips only.
    "paper": {
        "optimizer": "adam",
        "schedule": "constant",
        "warm_up": 0.0,
        "weight_decay": 0.0,
        "augmentation": "flip",
        "sampling": "natural",
        "label_smoothing": 0.0,
        "ema": None,
        "clip_norm": None,
        "patience": None,
    },
    # Current best practice.
    "fixed": {
        "optimizer": "adamw",
        "schedule": "cosine",
        "warm_up": 0.05,
        "weight_decay": 0.01,
        "augmentation": "strong",
        "sampling": "action",
        "label_smoothing": 0.05,
        "ema": 0.999,
        "clip_norm": 1.0,
        "patience": 5,
    },
    # Minimal regularisation, for trial runs, small data and the demo.
    "plain": {
        "optimizer": "adamw",
        "schedule": "cosine",
        "warm_up": 0.05,
        "weight_decay": 0.0,
        "augmentation": "flip",
        "sampling": "class",
        "label_smoothing": 0.0,
        "ema": None,
        "clip_norm": None,
        "patience": None,
    },
}


def plugin_of_detector(name: str) -> Plugin | None:
    """Return the plug-in that provides a detector; None for those of this package and of timm."""
    return named(DETECTORS, frozenset(DETECTOR_NAMES)).get(name)


class DetectorTraining(Settings):
    """Detector and training recipe; the preset fills in omitted values."""

    name: str = Field(
        description=f"one of {', '.join(DETECTOR_NAMES)}, timm:NAME for any timm model, or that of a plug-in"
    )
    label: str | None = Field(
        None, description="name in tables and folders; null: name. Two recipes of one detector need different labels"
    )
    preset: Literal["plain", "paper", "fixed"] = Field(
        "plain",
        description="recipe that fills in omitted values. paper: closest to the authors'; fixed: current best "
        "practice; plain: for trial runs and small data",
    )
    weights: Literal["none", "imagenet"] | WeightFile = Field(
        "none",
        description="initial weights: none (random), imagenet (the library's), or a file (path, sha256)",
    )
    image_size: PositiveInt | None = Field(
        None, description="input side that frames are resized to, pixels; null: the detector's standard size"
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None, description="dropout before the last layer; null: the detector's default"
    )
    epochs: PositiveInt = 10
    batch_size: PositiveInt = Field(32, description="frames per step, summed over all GPUs")
    optimizer: Literal["adam", "adamw", "sgd"] = Field("adamw", description="sgd: momentum 0.9")
    learning_rate: PositiveFloat | None = Field(None, description="initial rate; null: the detector's default")
    weight_decay: NonNegativeFloat = Field(0.0, description="not applied to biases and normalisation layers")
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    warm_up: Fraction = Field(0.05, description="fraction of all steps for linear learning rate warm-up from 0")
    step_epochs: PositiveInt = Field(5, description="schedule step: epochs between learning rate decays")
    step_factor: Annotated[float, Field(gt=0, lt=1)] = Field(0.5, description="schedule step: factor of each decay")
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = Field(
        0.0, description="0.1 makes the targets 0.05 and 0.95"
    )
    ema: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        description="decay of the exponential moving average of the weights, which is validated and saved; null: none",
    )
    clip_norm: PositiveFloat | None = Field(None, description="maximum gradient norm; null: no clipping")
    patience: PositiveInt | None = Field(
        None, description="early stopping: epochs without improvement on val; null: no early stopping"
    )
    sampling: Sampling = Field(
        "class",
        description="class: balance real and fake; action: also balance actions among the fakes; natural: every frame "
        "once",
    )
    augmentation: Augmentation = Field(
        "flip", description="flip: horizontal flip; strong: also crop, JPEG, blur and colour"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="training precision. auto: bfloat16 on a GPU, float32 on a CPU. Scores are always float32"
    )
    compile: bool = Field(
        False, description="use torch.compile; compilation takes minutes, so for long GPU trainings only"
    )

    @model_validator(mode="before")
    @classmethod
    def _apply_preset(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("preset", "plain") in PRESETS:
            return {**PRESETS[given.get("preset", "plain")], **given}
        return given

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        added = named(DETECTORS, frozenset(DETECTOR_NAMES))
        if name in added and added[name].problem:
            raise ValueError(added[name].problem)
        if name not in (*DETECTOR_NAMES, *added) and not _TIMM_NAME.fullmatch(name):
            raise ValueError(f"unknown detector; allowed are {', '.join((*DETECTOR_NAMES, *added))} and timm:NAME")
        return name

    @field_validator("label")
    @classmethod
    def _usable(cls, label: str | None) -> str | None:
        if label is not None and not _LABEL.fullmatch(label):
            raise ValueError("use lower-case letters, digits and '_'")
        return label

    @property
    def slug(self) -> str:
        """Name in tables and folders: the label, else that of the network."""
        return self.label or self.network

    @property
    def network(self) -> str:
        """Name of the network in file names: other characters than a-z, 0-9 and '_' are replaced by '_'."""
        return re.sub(r"[^a-z0-9_]", "_", self.name)


class TrainingSettings(Settings):
    """Training grid: detectors × training sets × seeds."""

    detectors: list[DetectorTraining] = Field(min_length=1)
    trained_on: list[Name] = Field(
        min_length=1,
        description="training sets; each detector is trained on each. A quality; mixed: all qualities. Endings, in "
        "this order: -only-ACTION, -without-ACTION: fakes of one action, or of all others; ACTION each: one set per "
        "action of the plan. -only-ANIMATOR, -without-ANIMATOR: the same of the animator, by its label; each-animator: "
        "one set per animator. -by-driver: without fakes whose driver is in another split, in train and test, so that "
        "test drivers are unseen in training. These keep the reals of their fakes only, so that the class ratio stays. "
        "-people-PERCENT: of the people in train. -split-paper: split by video, as in the paper; -fold-K: "
        "cross-validation, test is fold K of dataset.folds and val the next; K each: one set per fold",
    )
    seeds: list[Annotated[int, Field(ge=0)]] = Field([0], min_length=1)
    gpus: PositiveInt = Field(1, description="GPUs per training (data parallel); must divide batch_size")
    tensorboard: bool = Field(True, description="also write TensorBoard events next to every checkpoint")

    @model_validator(mode="after")
    def _no_duplicates(self) -> TrainingSettings:
        for what, values in (
            ("detectors", [d.slug for d in self.detectors]), ("trained_on", self.trained_on), ("seeds", self.seeds)
        ):  # fmt: skip
            if len(set(values)) != len(values):
                raise ValueError(f"{what} contains duplicates: {values}")
        return self

    def sets(self, actions: Iterable[str], animators: Iterable[str], folds: int) -> list[str]:
        """Return the names of all training sets, with ``each`` expanded to actions, animators and folds."""
        return expand(self.trained_on, actions, animators, folds)

    def unusable_sets(
        self, qualities: Iterable[str], actions: Iterable[str], animators: Iterable[str], folds: int
    ) -> dict[str, str]:
        """Return the names in ``trained_on`` that cannot be used, with what is wrong."""
        known, planned, made_by = [*qualities], [*actions], [*animators]
        problems = {name: problem_of(name, known, planned, made_by, folds) for name in self.trained_on}
        return {name: problem for name, problem in problems.items() if problem}


Protocol = Literal[
    "quality", "cross_quality", "mixed", "train_on_action", "per_action", "drivers", "datasets", "robustness",
    "subgroups", "splits", "training_size",
    "animators",
]  # fmt: skip
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)


class EvaluationSettings(Settings):
    """Evaluation metrics and protocols."""

    bootstrap: PositiveInt | None = Field(
        None, description="ignored: intervals need no resampling any more; kept so that older configs load"
    )
    top_k: PositiveInt = Field(3, description="highest-scoring frames averaged for level video_top")
    calibration_bins: PositiveInt = Field(15, description="equal-width bins of the expected calibration error")
    protocols: list[Protocol] = Field(list(PROTOCOLS), description="protocols on the report's protocol page")
    datasets: dict[Name, str] = Field(
        default_factory=dict,
        description="other datasets to test on (protocol datasets): name → folder with videos.parquet and "
        "frames.parquet, of a run with another animator, here or in another folder, or of an imported dataset",
    )
    robustness: list[Literal["jpeg", "resize", "blur", "noise", "h264"]] = Field(
        [],
        description="perturbations to test under (protocol robustness), each at 5 levels",
    )
