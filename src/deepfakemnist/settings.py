"""Settings of every stage: pydantic models that validate the config and describe it.

Light on imports, because Snakemake reads them whenever it parses the workflow, once per job.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]

#: The ten facial actions of the paper (arXiv 2108.07949), in its order and under our names.
Action = Literal[
    "blink", "mouth", "yaw", "nod", "right_slope", "left_slope", "up", "smile", "surprise", "embarrassment"
]
ACTIONS: tuple[Action, ...] = get_args(Action)
SPLITS = ("train", "val", "test")
#: Name of the training set that holds every quality.
MIXED = "mixed"


class Settings(BaseModel):
    """A part of the config: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceSettings(Settings):
    """Where real videos come from: a sample sheet, or a folder."""

    sheet: Path | None = Field(None, description="TSV with video_id, path and optional columns; see config/README.md")
    folder: Path | None = Field(None, description="folder searched for videos; ids are made from file names")
    pattern: str = Field("**/*", description="glob below folder")
    person_from: str = Field(
        r"^(?P<person>[^#/]+)",
        description="regular expression on the path below folder; its group 'person' is the person_id",
    )
    on_bad_row: Literal["stop", "row"] = Field(
        "stop",
        description="a sheet row with an unusable id or a missing file stops the run before any job, or becomes a row "
        "of the ledger while the run goes on; use row for large collections that decay, like VoxCeleb",
    )

    @model_validator(mode="after")
    def _one_source(self) -> SourceSettings:
        if (self.sheet is None) == (self.folder is None):
            raise ValueError("name either sheet or folder (sheet: null where a folder is searched)")
        return self


class DriverSettings(Settings):
    """Where driving clips come from."""

    sheet: Path = Field(description="TSV with driver_id, action, path and optional columns; see config/README.md")


class CropSettings(Settings):
    """From a video to a square clip of one face."""

    size: PositiveInt = Field(256, description="side of the clip, pixels; FOMM's vox models want 256")
    fps: PositiveFloat = Field(25.0, description="frames per second of the clip; VoxCeleb has 25")
    detect_every: PositiveInt = Field(5, description="look for faces in every n-th frame, interpolate between")
    detect_max_side: PositiveInt = Field(640, description="longest side of the picture given to the detector, pixels")
    min_score: Fraction = Field(0.7, description="YuNet score from which a box is a face")
    min_iou: Fraction = Field(0.25, description="overlap with the last box below which the track is lost (FOMM: 0.25)")
    margin: float = Field(
        0.2, ge=0.0, le=2.0, description="space added around the union of face boxes, share of its side"
    )
    min_face_px: PositiveFloat = Field(
        48.0, description="median face side in source pixels below which a clip is rejected"
    )
    min_face_fraction: Fraction = Field(0.8, description="share of looked-at frames that must show the tracked face")
    min_frames: PositiveInt = Field(16, description="frames at fps below which a clip is rejected")
    max_frames: PositiveInt = Field(1024, description="frames at fps after which a clip is cut (FOMM: 1024)")
    max_padding: Fraction = Field(
        0.1, description="share of the crop's area that may lie outside the picture, where the face is too close"
    )


class KeypointModel(Settings):
    """FOMM keypoint detector. Defaults are vox-256."""

    temperature: PositiveFloat = 0.1
    block_expansion: PositiveInt = 32
    max_features: PositiveInt = 1024
    scale_factor: PositiveFloat = 0.25
    num_blocks: PositiveInt = 5


class DenseMotionModel(Settings):
    """FOMM dense motion network. Defaults are vox-256."""

    block_expansion: PositiveInt = 64
    max_features: PositiveInt = 1024
    num_blocks: PositiveInt = 5
    scale_factor: PositiveFloat = 0.25


class GeneratorModel(Settings):
    """FOMM generator. Defaults are vox-256."""

    block_expansion: PositiveInt = 64
    max_features: PositiveInt = 512
    num_down_blocks: PositiveInt = 2
    num_bottleneck_blocks: PositiveInt = 6
    estimate_occlusion_map: bool = True
    dense_motion: DenseMotionModel = Field(default_factory=DenseMotionModel)
    full_resolution_skip: bool = Field(
        False,
        description="output = occlusion × warped source + (1 − occlusion) × generated. Not in the original; it lets a "
        "small model trained for minutes keep the source's detail. Official weights need false.",
    )


class FommModel(Settings):
    """Architecture of a First Order Motion Model. Defaults are the official vox-256."""

    num_kp: PositiveInt = 10
    num_channels: PositiveInt = 3
    keypoints: KeypointModel = Field(default_factory=KeypointModel)
    generator: GeneratorModel = Field(default_factory=GeneratorModel)


class TrainAnimatorSettings(Settings):
    """Training an animator on the run's own crops, for those who have no official weights."""

    steps: PositiveInt = Field(300, description="optimiser steps")
    batch_size: PositiveInt = Field(8, description="pairs of frames per step")
    size: PositiveInt = Field(256, description="side of training pictures, pixels")
    frames_per_clip: PositiveInt = Field(48, description="evenly spaced frames of each clip kept in memory")
    max_sources: PositiveInt = Field(
        300, description="sources trained on, drawn by seed; at 48 frames of 256 px each takes 9.4 MB of memory"
    )
    learning_rate: PositiveFloat = Field(4e-4, description="Adam, betas 0.5 and 0.999, cosine to zero")
    equivariance_value: float = Field(10.0, ge=0, description="weight of keypoint equivariance (paper: 10)")
    equivariance_jacobian: float = Field(10.0, ge=0, description="weight of jacobian equivariance (paper: 10)")
    gradient: float = Field(1.0, ge=0, description="weight of the image-gradient loss")
    splits: list[Literal["train", "val", "test"]] = Field(
        ["train"], description="people of these splits are trained on; drivers always are"
    )


class AnimatorSettings(Settings):
    """Who animates, with which weights and how motion is transferred."""

    name: Literal["fomm"] = "fomm"
    weights: Path | None = Field(
        None, description="checkpoint in the official layout (vox-cpk.pth.tar); null trains one on this run's crops"
    )
    weights_sha256: Sha256 | None = Field(None, description="refuse weights with any other sha256")
    model: FommModel = Field(default_factory=FommModel)
    motion: Literal["absolute", "relative", "relative-adapt"] = Field(
        "relative-adapt", description="demo.py's flags: none, --relative, --relative --adapt_scale"
    )
    align_corners: bool = Field(
        True, description="grid_sample as when the vox weights were trained (true) or as torch ≥ 1.3 ran them (false)"
    )
    batch_size: PositiveInt = Field(8, description="frames rendered at once")
    source_frame: int = Field(0, ge=0, description="frame of the source clip that is animated, from 0")
    train: TrainAnimatorSettings = Field(default_factory=TrainAnimatorSettings)


class WeightFile(Settings):
    """A file of weights that must be exactly the one meant."""

    path: Path
    sha256: Sha256


class LocalSilentSettings(Settings):
    """Passive liveness by the MiniFASNet ensemble (Silent-Face-Anti-Spoofing, Apache-2.0)."""

    provider: Literal["local-silent"]
    minifasnet_v2: WeightFile = Field(description="2.7_80x80_MiniFASNetV2.pth")
    minifasnet_v1se: WeightFile = Field(description="4_0_0_80x80_MiniFASNetV1SE.pth")
    frames: PositiveInt = Field(8, description="evenly spaced frames looked at")
    threshold: Fraction = Field(0.5, description="mean P(live) from which a clip passes")


class LocalMotionSettings(Settings):
    """Does the clip show the commanded action? Five facial landmarks and two face regions; no extra weights."""

    provider: Literal["local-motion"]
    every: PositiveInt = Field(2, description="look at every n-th frame")
    strength: PositiveFloat = Field(1.0, description="factor on every action's limit; below 1 is more lenient")


LivenessProvider = Annotated[LocalSilentSettings | LocalMotionSettings, Field(discriminator="provider")]


class LivenessSettings(Settings):
    """Which liveness detectors a fake must pass; all of them."""

    providers: list[LivenessProvider] = Field(min_length=1)


class PlanSettings(Settings):
    """How sources meet drivers."""

    actions: list[Action] = Field(list(ACTIONS), min_length=1, description="actions to make")
    actions_per_source: PositiveInt = Field(1, description="fakes made from each source, each of another action")
    quota: PositiveInt | None = Field(None, description="fakes kept per action; null keeps every one that passes")
    val_fraction: Fraction = Field(0.15, description="share of people in val")
    test_fraction: Fraction = Field(0.15, description="share of people in test")

    @model_validator(mode="after")
    def _something_to_train_on(self) -> PlanSettings:
        if self.val_fraction + self.test_fraction >= 1:
            raise ValueError("val_fraction + test_fraction must leave people for train (sum below 1)")
        if self.actions_per_source > len(self.actions):
            raise ValueError(
                f"actions_per_source is {self.actions_per_source} but only {len(self.actions)} actions are named"
            )
        return self


class Quality(Settings):
    """One encoding of every clip."""

    codec: Literal["libx264", "libx264rgb"] = "libx264"
    crf: Annotated[int, Field(ge=0, le=51)] | None = Field(None, description="constant rate factor")
    qp: Annotated[int, Field(ge=0, le=69)] | None = Field(None, description="constant quantiser; 0 is lossless")
    pix_fmt: Literal["yuv420p", "yuv444p", "rgb24"] = "yuv420p"
    preset: Literal["ultrafast", "veryfast", "fast", "medium", "slow"] = "medium"

    @model_validator(mode="after")
    def _one_rate_control(self) -> Quality:
        if (self.crf is None) == (self.qp is None):
            raise ValueError("name either crf or qp")
        if (self.codec == "libx264rgb") != (self.pix_fmt == "rgb24"):
            raise ValueError("libx264rgb goes with pix_fmt rgb24, and only it does")
        return self


def _paper_qualities() -> dict[str, Quality]:
    return {
        "raw": Quality(qp=0, preset="veryfast"),
        "c23": Quality(crf=23),
        "c40": Quality(crf=40),
    }


class CompressSettings(Settings):
    """The one encode chain that real and fake clips share."""

    qualities: dict[Name, Quality] = Field(default_factory=_paper_qualities, min_length=1)
    max_frames: PositiveInt | None = Field(None, description="cut every clip to this many frames; null keeps all")


class FrameSettings(Settings):
    """Still frames for frame-level detectors."""

    per_clip: PositiveInt = Field(16, description="evenly spaced frames of each clip")


class DetectorTraining(Settings):
    """Training recipe of one detector."""

    name: Literal["resnet50", "resnet101", "resnet152", "meso4"]
    weights: Literal["none", "imagenet"] = Field(
        "none", description="start from scratch, or from torchvision's ImageNet weights"
    )
    image_size: PositiveInt | None = Field(
        None, description="side of the input, pixels; frames are resized to it. null: the one the detector is known for"
    )
    epochs: PositiveInt = 10
    batch_size: PositiveInt = 32
    learning_rate: PositiveFloat = 1e-3
    weight_decay: float = Field(0.0, ge=0)


class TrainingSettings(Settings):
    """Detectors × training sets × seeds."""

    detectors: list[DetectorTraining] = Field(min_length=1)
    trained_on: list[Name] = Field(
        min_length=1, description="qualities to train on, one detector each; mixed takes all of them together"
    )
    seeds: list[Annotated[int, Field(ge=0)]] = Field([0], min_length=1)

    @model_validator(mode="after")
    def _no_twins(self) -> TrainingSettings:
        for what, values in (
            ("detectors", [d.name for d in self.detectors]), ("trained_on", self.trained_on), ("seeds", self.seeds)
        ):  # fmt: skip
            if len(set(values)) != len(values):
                raise ValueError(f"{what} names something twice: {values}")
        return self


class EvaluationSettings(Settings):
    """How predictions become numbers."""

    bootstrap: PositiveInt = Field(1000, description="resamples of people for 95 % intervals")
