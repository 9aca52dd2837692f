"""Settings of sources, drivers, face crops, planning and animation quality."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from deepfakemnist.config.base import ACTIONS, Action, Fraction, MediaLimits, Settings, WeightFile


class VoxMetadataSettings(Settings):
    """FOMM's list of VoxCeleb segments, and the full videos."""

    csv: Path = Field(description="vox-metadata.csv of FOMM's video-preprocessing")
    videos: Path = Field(description="folder of the full videos, <video_id>.<suffix> at any depth")


class VoxCeleb1Settings(Settings):
    """VoxCeleb1's official annotations, and the full videos."""

    txt: Path = Field(description="folder of <person>/<video>/<utterance>.txt")
    videos: Path = Field(description="folder of the full videos, <video>.<suffix> at any depth")


class SelectionSettings(Settings):
    """Source selection: a seeded sample, balanced over people, length and face size."""

    videos: PositiveInt | None = Field(None, description="sources to keep among those that pass crop; null: all")
    candidates: PositiveInt | None = Field(
        None,
        description="videos to process, sampled by person and, if annotated, length and face size; null: all. Set it "
        "above videos, as some will be rejected",
    )

    @model_validator(mode="after")
    def _enough_candidates(self) -> SelectionSettings:
        if self.videos and self.candidates and self.candidates < self.videos:
            raise ValueError(f"candidates {self.candidates} must be at least videos {self.videos}")
        return self


class SourceSettings(Settings):
    """Source videos: a sample sheet, a folder, or VoxCeleb annotations with a folder of videos.

    Or a published tree, which holds all clips, fakes included.
    """

    sheet: Path | None = Field(None, description="TSV with video_id, path and optional columns; see config/README.md")
    folder: Path | None = Field(None, description="folder searched for videos; ids and people derive from paths")
    vox_metadata: VoxMetadataSettings | None = Field(None, description="segments and face boxes of vox-metadata.csv")
    voxceleb1: VoxCeleb1Settings | None = Field(None, description="utterances and face boxes of VoxCeleb1's txt folder")
    released: Path | None = Field(
        None,
        description="tree of finished clips in DeepFakeMnist+'s published layout, real_dataset/selected_<split> and "
        "fake_dataset/<action>; clips are encoded and keep their split, and crop, plan and animate are skipped",
    )
    pattern: str = Field("**/*", description="glob below folder")
    person_from: str | None = Field(
        None,
        description="regular expression on the path below folder, whose group 'person' is the person_id; null: the "
        "first folder, and where there is none, or for crops, the file name; both up to the first '#'",
    )
    cropped: bool = Field(False, description="clips of the sheet or folder are face crops already; use them unchanged")
    exclude: Path | None = Field(
        None, description="TSV with video_id, person_id, reason: sources, drivers and people to exclude"
    )
    select: SelectionSettings | None = Field(
        None, description="select a subset of the videos, without pixel-identical duplicates; null: use all"
    )
    limits: MediaLimits = Field(
        default_factory=MediaLimits, description="limits on the size, length and memory of sources and drivers"
    )
    on_bad_row: Literal["stop", "row"] = Field(
        "stop",
        description="on an invalid id or missing file in a sheet. stop: end the run before any job; row: record it in "
        "the ledger and continue. VoxCeleb annotations, whose videos disappear over time, always use row",
    )

    @model_validator(mode="after")
    def _one_source(self) -> SourceSettings:
        ways = ("sheet", "folder", "vox_metadata", "voxceleb1", "released")
        named = [name for name in ways if getattr(self, name) is not None]
        if len(named) != 1:
            raise ValueError(
                f"set exactly one of {', '.join(ways[:-1])} and {ways[-1]}, not {named or 'none of them'} "
                "(with sheet: null for any other)"
            )
        if self.released is not None and (self.cropped or self.select):
            raise ValueError("cropped and select do not apply to released, whose finished clips are all used")
        if self.cropped and named[0] in ("vox_metadata", "voxceleb1"):
            raise ValueError(f"cropped requires sheet or folder; {named[0]} refers to full videos")
        return self


class DriverSettings(Settings):
    """Driving videos."""

    sheet: Path = Field(description="TSV with driver_id, action, path and optional columns; see config/README.md")


#: Clips shorter than this are not rejected for a still face: for a second, live people move as little as photographs.
MOTION_JUDGED_FROM_S = 2.0


class CropSettings(Settings):
    """Face crop: from a video to a square clip of one face."""

    policy: Literal["square-track", "vox-metadata", "ff-1.3"] = Field(
        "square-track",
        description="square-track: fixed square around the union of face boxes, with margin (FOMM's crop-video: 0.1). "
        "vox-metadata: the annotated box, stretched to a square, as in FOMM's load_videos. "
        "ff-1.3: square that follows the face at 1.3 times its size, as FaceForensics++ crops frames for detectors",
    )
    size: PositiveInt = Field(256, description="side of the clip, pixels; FOMM's vox models need 256")
    fps: PositiveFloat = Field(25.0, description="frame rate of the clip, frames per second; VoxCeleb has 25")
    detect_every: PositiveInt = Field(5, description="detect faces in every n-th frame and interpolate in between")
    detect_max_side: PositiveInt = Field(320, description="longest side of the face detector input, pixels")
    min_score: Fraction = Field(0.7, description="minimum YuNet score of a face")
    min_iou: Fraction = Field(0.25, description="minimum IoU with the previous box to continue a track (FOMM: 0.25)")
    margin: float = Field(
        0.2, ge=0.0, le=2.0, description="margin around the union of face boxes, as a fraction of its side"
    )
    edge: Literal["pad", "reject"] = Field(
        "pad",
        description="handling of crops beyond the frame. pad: shift inside, then pad up to max_padding if too large; "
        "reject: reject the clip, as for VoxCeleb's crops",
    )
    max_padding: Fraction = Field(0.1, description="maximum fraction of the crop's area outside the frame")
    split_shots: bool = Field(
        True,
        description="keep the longest segment without a change of shot or person; false: treat the clip as one shot",
    )
    min_frames: PositiveInt = Field(16, description="minimum frames at fps; shorter clips are rejected (FOMM: 64)")
    max_frames: PositiveInt = Field(1024, description="maximum frames at fps; longer clips are trimmed (FOMM: 1024)")
    min_face_px: PositiveFloat = Field(48.0, description="minimum median face side, source pixels")
    min_face_fraction: Fraction = Field(
        0.8, description="minimum fraction of detection frames that show the tracked face"
    )
    max_interpolated: Fraction = Field(
        0.5, description="maximum fraction of frames with an interpolated box next to a missed detection"
    )
    max_other_faces: Fraction = Field(
        0.5,
        description="maximum fraction of detection frames with another face at least half as large: in two-panel "
        "videos and interviews it is unknown whose face is meant",
    )
    min_track_score: Fraction = Field(0.0, description="minimum mean YuNet score of the tracked face, min_score..1")
    min_sharpness: float = Field(
        0.0, ge=0.0, description="minimum median variance of the Laplacian; low in blurred clips"
    )
    min_brightness: float = Field(0.0, ge=0.0, le=255.0, description="minimum mean luma of the crop, 0..255")
    max_brightness: float = Field(255.0, ge=0.0, le=255.0, description="maximum mean luma of the crop, 0..255")
    min_face_motion: float = Field(
        0.2,
        ge=0.0,
        description="minimum motion of the face within itself, percent of its side, of clips of 2 seconds or more; "
        "rejects frozen pictures and filmed photographs. 0: none is rejected",
    )
    max_yaw_range: float = Field(180.0, ge=0.0, description="maximum range of head yaw, degrees")


class PlanSettings(Settings):
    """Assignment of actions and drivers to sources, quotas and splits."""

    actions: list[Action] = Field(list(ACTIONS), min_length=1, description="actions to generate")
    actions_per_source: PositiveInt = Field(1, description="fakes per source, each with a different action")
    quota: PositiveInt | None = Field(None, description="fakes to keep per action; null: all that pass")
    max_rounds: PositiveInt = Field(
        1,
        description="1: animate every source, then apply the quota to those that pass. Above 1: sample candidates in "
        "up to this many rounds, as many as the quota still needs and only for actions that are short",
    )
    expected_pass_rate: float = Field(
        0.5,
        gt=0.0,
        le=1.0,
        description="prior for the fraction of candidates that pass, before any round has measured it",
    )
    on_shortfall: Literal["warn", "fail"] = Field(
        "warn", description="when an action misses its quota: warn and continue, or fail; both print a table"
    )
    reals: Literal["all", "of_fakes"] = Field(
        "all", description="real videos in the dataset. all: every usable source; of_fakes: sources of kept fakes only"
    )
    drivers: Literal["shared", "disjoint"] = Field(
        "shared",
        description="drivers of the splits. shared: any driver of the action in every split, as in the paper, so that "
        "test fakes have drivers that training has shown; disjoint: drivers are dealt to the splits by person, so that "
        "test fakes are driven by unseen people. Every action then needs a driver in each split",
    )
    val_fraction: Fraction = Field(
        0.15,
        description="expected fraction of people in val. A hash of each person decides, so that nobody changes splits "
        "when others are added or removed; sets of fewer than 12 people meet the fractions",
    )
    test_fraction: Fraction = Field(0.15, description="expected fraction of people in test")

    @property
    def shares(self) -> dict[str, float]:
        """Return split → expected fraction of people."""
        return {
            "test": self.test_fraction,
            "val": self.val_fraction,
            "train": 1 - self.val_fraction - self.test_fraction,
        }

    @model_validator(mode="after")
    def _consistent(self) -> PlanSettings:
        if self.val_fraction + self.test_fraction >= 1:
            raise ValueError("val_fraction + test_fraction must leave people for train (sum below 1)")
        if self.actions_per_source > len(self.actions):
            raise ValueError(
                f"actions_per_source is {self.actions_per_source}, but only {len(self.actions)} actions are listed"
            )
        if self.max_rounds > 1 and self.quota is None:
            raise ValueError(f"max_rounds is {self.max_rounds}, but rounds need a quota; set quota or max_rounds: 1")
        return self


class AnimationQualitySettings(Settings):
    """Animation quality measurement."""

    every: PositiveInt = Field(1, description="measure every n-th frame; a blink lasts 2 to 10 frames at 25 fps")


class ReenactmentSettings(Settings):
    """Self-reenactment: every driver animated by itself."""

    lpips: WeightFile | None = Field(
        None,
        description="AlexNet of torchvision (path, sha256), with which LPIPS is measured too; null: it is not. The "
        "metric's own weights come with torchmetrics",
    )


class SelectSettings(Settings):
    """Quality gate: what an animation needs, besides the liveness verdicts, to become a fake of the dataset."""

    min_identity: float | None = Field(
        None,
        le=1.0,
        description="minimum identity preservation: 1 the source person, 0 an unrelated one; null: no gate",
    )
    min_sharpness: float | None = Field(
        None, ge=0.0, description="minimum sharpness of the face relative to that of the source frame; null: no gate"
    )
    max_tearing: float | None = Field(
        None, ge=0.0, description="maximum tearing, see config/README.md for measured values; null: no gate"
    )

    @property
    def limits(self) -> dict[str, float]:
        """Return the gates that are set: setting → limit."""
        return {name: limit for name in type(self).model_fields if (limit := getattr(self, name)) is not None}
