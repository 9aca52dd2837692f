"""Settings of the stages that make the clips: sources, drivers, crop, plan, and judging animations."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from deepfakemnist.config.base import ACTIONS, Action, Fraction, Settings


class VoxMetadataSettings(Settings):
    """FOMM's list of VoxCeleb segments, and the full videos it speaks of."""

    csv: Path = Field(description="vox-metadata.csv of FOMM's video-preprocessing")
    videos: Path = Field(description="folder with the full videos, <video_id>.<suffix> at any depth")


class VoxCeleb1Settings(Settings):
    """VoxCeleb1's own annotations, and the full videos they speak of."""

    txt: Path = Field(description="folder with <person>/<video>/<utterance>.txt")
    videos: Path = Field(description="folder with the full videos, <video>.<suffix> at any depth")


class SelectionSettings(Settings):
    """Which of many sources are used: a seeded choice, even over people, length and face size."""

    videos: PositiveInt | None = Field(None, description="sources kept of those that pass crop; null keeps all")
    candidates: PositiveInt | None = Field(
        None,
        description="videos looked at at all, chosen by person and, where annotations tell them, length and face size; "
        "null looks at all. Ask for more than videos, because some will fail",
    )

    @model_validator(mode="after")
    def _enough_candidates(self) -> SelectionSettings:
        if self.videos and self.candidates and self.candidates < self.videos:
            raise ValueError(f"candidates {self.candidates} must be at least videos {self.videos}")
        return self


class SourceSettings(Settings):
    """Where real videos come from: a sample sheet, a folder, VoxCeleb's annotations with a folder of videos.

    Or where all clips come from, fakes too: the published tree.
    """

    sheet: Path | None = Field(None, description="TSV with video_id, path and optional columns; see config/README.md")
    folder: Path | None = Field(None, description="folder searched for videos; ids are made from file names")
    vox_metadata: VoxMetadataSettings | None = Field(None, description="segments and boxes of vox-metadata.csv")
    voxceleb1: VoxCeleb1Settings | None = Field(None, description="utterances and boxes of VoxCeleb1's txt folder")
    released: Path | None = Field(
        None,
        description="tree of finished clips, real_dataset/selected_<split> and fake_dataset/<action>, as "
        "DeepFakeMnist+ was published; they are encoded and keep that split; nothing is cropped, planned or animated",
    )
    pattern: str = Field("**/*", description="glob below folder")
    person_from: str | None = Field(
        None,
        description="regular expression on the path below folder; its group 'person' is the person_id. null: the first "
        "part of the path; of a crop, its file name up to the first '#'",
    )
    cropped: bool = Field(
        False, description="the clips of the sheet or folder are face crops already and are taken as they are"
    )
    exclude: Path | None = Field(
        None, description="TSV with video_id, person_id, reason: sources, drivers and people that must not be used"
    )
    select: SelectionSettings | None = Field(
        None, description="choose some of the videos and refuse copies of the same pixels; null uses all"
    )
    on_bad_row: Literal["stop", "row"] = Field(
        "stop",
        description="a sheet row with an unusable id or a missing file stops the run before any job, or becomes a row "
        "of the ledger while the run goes on; with VoxCeleb's annotations, which decay, it is always a row",
    )

    @model_validator(mode="after")
    def _one_source(self) -> SourceSettings:
        ways = ("sheet", "folder", "vox_metadata", "voxceleb1", "released")
        named = [name for name in ways if getattr(self, name) is not None]
        if len(named) != 1:
            raise ValueError(
                f"name one of {', '.join(ways[:-1])} and {ways[-1]}, not {named or 'none of them'} "
                "(sheet: null where another one is named)"
            )
        if self.released is not None and (self.cropped or self.select):
            raise ValueError("cropped and select go with videos; released names finished clips, all of which are taken")
        if self.cropped and named[0] in ("vox_metadata", "voxceleb1"):
            raise ValueError(f"cropped goes with sheet or folder; {named[0]} speaks of full videos")
        return self


class DriverSettings(Settings):
    """Where driving clips come from."""

    sheet: Path = Field(description="TSV with driver_id, action, path and optional columns; see config/README.md")


class CropSettings(Settings):
    """From a video to a square clip of one face."""

    policy: Literal["square-track", "vox-metadata", "ff-1.3"] = Field(
        "square-track",
        description="square-track: one square around all boxes of the face, with margin (FOMM's crop-video has 0.1). "
        "vox-metadata: the box given with the video, stretched to the square, as FOMM's load_videos does. "
        "ff-1.3: a square that follows the face, 1.3 times its size, as FaceForensics++ cuts frames for detectors",
    )
    size: PositiveInt = Field(256, description="side of the clip, pixels; FOMM's vox models want 256")
    fps: PositiveFloat = Field(25.0, description="frames per second of the clip; VoxCeleb has 25")
    detect_every: PositiveInt = Field(5, description="look for faces in every n-th frame, interpolate between")
    detect_max_side: PositiveInt = Field(320, description="longest side of the picture given to the detector, pixels")
    min_score: Fraction = Field(0.7, description="YuNet score from which a box is a face")
    min_iou: Fraction = Field(0.25, description="overlap with the last box below which the track is lost (FOMM: 0.25)")
    margin: float = Field(
        0.2, ge=0.0, le=2.0, description="space added around the union of face boxes, share of its side"
    )
    edge: Literal["pad", "reject"] = Field(
        "pad",
        description="where the crop leaves the picture. pad: it is moved inside, and padded up to max_padding where it "
        "is too large. reject: the clip is rejected, as VoxCeleb's crops were",
    )
    max_padding: Fraction = Field(0.1, description="share of the crop's area that may lie outside the picture")
    split_shots: bool = Field(
        True, description="keep the longest part without a change of shot or person; false: take the clip as one shot"
    )
    min_frames: PositiveInt = Field(16, description="frames at fps below which a clip is rejected (FOMM: 64)")
    max_frames: PositiveInt = Field(1024, description="frames at fps after which a clip is cut (FOMM: 1024)")
    min_face_px: PositiveFloat = Field(
        48.0, description="median face side in source pixels below which a clip is rejected"
    )
    min_face_fraction: Fraction = Field(0.8, description="share of looked-at frames that must show the tracked face")
    max_interpolated: Fraction = Field(
        0.5, description="share of frames whose box may be a guess because the face was not found around them"
    )
    min_track_score: Fraction = Field(0.0, description="mean YuNet score of the tracked face, from min_score to 1")
    min_sharpness: float = Field(0.0, ge=0.0, description="median variance of the Laplacian; blurred clips have few")
    min_brightness: float = Field(0.0, ge=0.0, le=255.0, description="mean luma of the crop, 0..255")
    max_brightness: float = Field(255.0, ge=0.0, le=255.0, description="mean luma of the crop, 0..255")
    max_yaw_range: float = Field(180.0, ge=0.0, description="degrees the head may turn between left and right")


class PlanSettings(Settings):
    """How sources meet drivers."""

    actions: list[Action] = Field(list(ACTIONS), min_length=1, description="actions to make")
    actions_per_source: PositiveInt = Field(1, description="fakes made from each source, each of another action")
    quota: PositiveInt | None = Field(None, description="fakes kept per action; null keeps every one that passes")
    max_rounds: PositiveInt = Field(
        1,
        description="1: every source is animated, and the quota is cut from what passes. More: candidates are drawn in "
        "up to so many rounds, as many as the quota still wants, and only for actions that are short",
    )
    expected_pass_rate: float = Field(
        0.5, gt=0.0, le=1.0, description="share of candidates expected to pass, until a round has measured it"
    )
    on_shortfall: Literal["warn", "fail"] = Field(
        "warn", description="when an action does not reach its quota: go on with what there is, or stop; with a table"
    )
    reals: Literal["all", "of_fakes"] = Field(
        "all", description="reals of the dataset: every usable source, or only those of which a fake was kept"
    )
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
        if self.max_rounds > 1 and self.quota is None:
            raise ValueError(f"max_rounds is {self.max_rounds}, but there is no quota that rounds could fill")
        return self


class AnimationQualitySettings(Settings):
    """How closely animations are judged."""

    every: PositiveInt = Field(
        1, description="look at every n-th frame; a blink lasts two to ten frames at 25 per second"
    )
