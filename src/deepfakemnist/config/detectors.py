"""Settings of the detectors: what is trained, on what, how, and how it is judged.

Light on imports, because Snakemake reads them whenever it parses the workflow, once per job.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, field_validator, model_validator

from deepfakemnist.config.base import ACTIONS, MIXED, Fraction, Name, Settings, WeightFile

#: The registry of deepfakemnist.detectors by name; a test keeps the two together.
DETECTOR_NAMES = (
    *("resnet50", "resnet101", "resnet152", "xception", "efficientnet_b4", "convnext_tiny"),
    *("meso4", "mesoinception4", "meso4_sharedbn", "clip_probe", "clip_norms", "dct_resnet18"),
    *("framediff_resnet18", "r2plus1d_18"),
)
_TIMM_NAME = re.compile(r"timm:[a-z0-9_]+(\.[a-z0-9_]+)?")
_LABEL = re.compile(r"[a-z0-9_]+")

#: What a training set may be named beside a quality: fakes of one action, or all fakes but those of one.
_BY_ACTION = re.compile(rf"(?P<quality>.+)-(?P<kind>only|without)-(?P<action>{'|'.join((*ACTIONS, 'each'))})")
#: Or fakes whose driver is in the split too, so that test has drivers that training has not seen.
_BY_DRIVER = "-by-driver"

Sampling = Literal["class", "action", "natural"]
Augmentation = Literal["none", "flip", "strong"]

#: Recipes by name; a recipe's values stand where the config gives none.
PRESETS: dict[str, dict[str, Any]] = {
    # Closest to what the paper's authors can have done: they state neither code nor recipe, so these are the defaults
    # of the field at that time (FaceForensics++, DeepfakeBench): Adam at a constant rate, mirroring only.
    "paper": {
        **{"optimizer": "adam", "schedule": "constant", "warm_up": 0.0, "weight_decay": 0.0, "augmentation": "flip"},
        **{"sampling": "natural", "label_smoothing": 0.0, "ema": None, "clip_norm": None, "patience": None},
    },
    # The field's better practice.
    "fixed": {
        **{"optimizer": "adamw", "schedule": "cosine", "warm_up": 0.05, "weight_decay": 0.01},
        **{"augmentation": "strong", "sampling": "action", "label_smoothing": 0.05, "ema": 0.999, "clip_norm": 1.0},
        "patience": 5,
    },
    # Little of everything: for trials, small data and the demo.
    "plain": {
        **{"optimizer": "adamw", "schedule": "cosine", "warm_up": 0.05, "weight_decay": 0.0, "augmentation": "flip"},
        **{"sampling": "class", "label_smoothing": 0.0, "ema": None, "clip_norm": None, "patience": None},
    },
}


class DetectorTraining(Settings):
    """One detector and its training recipe. Values the config does not give come from the preset."""

    name: str = Field(description=f"one of {', '.join(DETECTOR_NAMES)}, or timm:NAME for any model of timm")
    label: str | None = Field(
        None, description="what tables and folders call it; null: its name. Two recipes of one detector need two"
    )
    preset: Literal["plain", "paper", "fixed"] = Field(
        "plain",
        description="recipe that fills in what is not given. paper: closest to the authors'; fixed: the field's better "
        "practice; plain: for trials and small data",
    )
    weights: Literal["none", "imagenet"] | WeightFile = Field(
        "none",
        description="start from random weights, from the library's ImageNet weights, or from a file (path, sha256)",
    )
    image_size: PositiveInt | None = Field(
        None, description="side of the input, pixels; frames are resized to it. null: the one the detector is known for"
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None, description="dropout before the last layer; null: the detector's own"
    )
    epochs: PositiveInt = 10
    batch_size: PositiveInt = Field(32, description="frames per step, over all GPUs together")
    optimizer: Literal["adam", "adamw", "sgd"] = Field("adamw", description="sgd has momentum 0.9")
    learning_rate: PositiveFloat | None = Field(None, description="null: the detector's own")
    weight_decay: NonNegativeFloat = Field(0.0, description="not applied to biases and norms")
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    warm_up: Fraction = Field(0.05, description="share of all steps in which the learning rate rises from nothing")
    step_epochs: PositiveInt = Field(5, description="schedule step: epochs between two falls of the learning rate")
    step_factor: Annotated[float, Field(gt=0, lt=1)] = Field(0.5, description="schedule step: what it is multiplied by")
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = Field(
        0.0, description="targets are this far from 0 and 1, halved: 0.1 makes them 0.05 and 0.95"
    )
    ema: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="decay of a moving average of the weights, which is what is judged and kept; null: none"
    )
    clip_norm: PositiveFloat | None = Field(None, description="largest norm of the gradient; null: not clipped")
    patience: PositiveInt | None = Field(
        None, description="epochs without a better one on val after which training stops; null: never early"
    )
    sampling: Sampling = Field(
        "class",
        description="class: reals and fakes equally often; action: also every action as often among the fakes; "
        "natural: every frame once",
    )
    augmentation: Augmentation = Field(
        "flip", description="none; flip: mirrored; strong: mirrored, cut, JPEG, blur and colour as well"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 on a GPU, float32 on a CPU; scores are always computed in float32"
    )
    compile: bool = Field(False, description="torch.compile: worth its minutes in long trainings on a GPU")

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("preset", "plain") in PRESETS:
            return {**PRESETS[given.get("preset", "plain")], **given}
        return given

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in DETECTOR_NAMES and not _TIMM_NAME.fullmatch(name):
            raise ValueError(f"there is no such detector; there are {', '.join(DETECTOR_NAMES)} and timm:NAME")
        return name

    @field_validator("label")
    @classmethod
    def _usable(cls, label: str | None) -> str | None:
        if label is not None and not _LABEL.fullmatch(label):
            raise ValueError("use small letters, digits and '_'")
        return label

    @property
    def slug(self) -> str:
        """What tables and folders call it."""
        return self.label or re.sub(r"[^a-z0-9_]", "_", self.name)


class TrainingSet(NamedTuple):
    """The clips a detector is trained on.

    Args:
        quality: a quality of the config, or ``mixed`` for all of them.
        only: fakes of this action only, against all reals; None for every action.
        without: fakes of every action but this; None for every action.
        by_driver: no fakes whose driver is in another split than they are (column ``split_driver``).
    """

    quality: str
    only: str | None = None
    without: str | None = None
    by_driver: bool = False


def parse_training_set(trained_on: str) -> TrainingSet:
    """Read a name such as ``c23``, ``mixed``, ``raw-only-nod``, ``raw-without-nod`` or ``raw-by-driver``."""
    if trained_on.endswith(_BY_DRIVER):
        return TrainingSet(trained_on.removesuffix(_BY_DRIVER), by_driver=True)
    match = _BY_ACTION.fullmatch(trained_on)
    if match is None:
        return TrainingSet(trained_on)
    kind, action = match["kind"], match["action"]
    return TrainingSet(match["quality"], action if kind == "only" else None, action if kind == "without" else None)


class TrainingSettings(Settings):
    """Detectors × training sets × seeds."""

    detectors: list[DetectorTraining] = Field(min_length=1)
    trained_on: list[Name] = Field(
        min_length=1,
        description="training sets, one detector each: a quality; mixed, all of them together; QUALITY-only-ACTION, "
        "fakes of one action against all reals; QUALITY-without-ACTION, fakes of all other actions. each in place of "
        "ACTION stands for every action of the plan, one set each. QUALITY-by-driver, no fakes whose driver is in "
        "another split than they are: test then has drivers that training has not seen",
    )
    seeds: list[Annotated[int, Field(ge=0)]] = Field([0], min_length=1)
    gpus: PositiveInt = Field(
        1, description="GPUs of each training, which then share its batches; batch_size must be divisible by it"
    )
    tensorboard: bool = Field(True, description="also write TensorBoard events beside every checkpoint")

    @model_validator(mode="after")
    def _no_twins(self) -> TrainingSettings:
        for what, values in (
            ("detectors", [d.slug for d in self.detectors]), ("trained_on", self.trained_on), ("seeds", self.seeds)
        ):  # fmt: skip
            if len(set(values)) != len(values):
                raise ValueError(f"{what} names something twice: {values}")
        return self

    def sets(self, actions: Iterable[str]) -> list[str]:
        """Return the names of all training sets, ``each`` written out for the actions of the plan."""
        names: list[str] = []
        for name in self.trained_on:
            if name.endswith("-each") and parse_training_set(name) != TrainingSet(name):
                names += [f"{name.removesuffix('each')}{action}" for action in actions]
            else:
                names.append(name)
        return list(dict.fromkeys(names))

    def unknown_sets(self, qualities: Iterable[str], actions: Iterable[str]) -> list[str]:
        """Return the names in ``trained_on`` that stand for no quality or action there is."""
        known, planned = {*qualities, MIXED}, {None, "each", *actions}
        return [
            name
            for name, chosen in ((name, parse_training_set(name)) for name in self.trained_on)
            if chosen.quality not in known or not {chosen.only, chosen.without} <= planned
        ]


Protocol = Literal[
    "quality", "cross_quality", "mixed", "train_on_action", "per_action", "drivers", "datasets", "robustness",
    "subgroups",
]  # fmt: skip
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)


class EvaluationSettings(Settings):
    """How predictions become numbers."""

    bootstrap: PositiveInt = Field(1000, description="resamples of people for 95 % intervals")
    top_k: PositiveInt = Field(3, description="frames with the highest scores that level video_top takes the mean of")
    calibration_bins: PositiveInt = Field(15, description="bins of equal width of the expected calibration error")
    protocols: list[Protocol] = Field(list(PROTOCOLS), description="tables of the report's protocol page")
    datasets: dict[Name, str] = Field(
        default_factory=dict,
        description="other manifests to judge the detectors on (protocol datasets): name → folder with videos.parquet "
        "and frames.parquet, of a run with another animator or of an imported dataset",
    )
    robustness: list[Literal["jpeg", "resize", "blur", "noise", "h264"]] = Field(
        [],
        description="perturbations to judge the detectors under (protocol robustness), each at 5 levels",
    )
