"""Preparation record of a detector's training clips: crop, encodes and still frames, as its checkpoint keeps them.

A score depends on all of them, so whoever scores another video with the detector has to repeat them. Few imports,
because Snakemake builds the record each time it parses the workflow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from deepfakemnist.config.base import MIXED, Name, Settings
from deepfakemnist.config.dataset import FrameSettings, Quality
from deepfakemnist.config.stages import CropSettings
from deepfakemnist.config.training_sets import parse_training_set

if TYPE_CHECKING:
    from deepfakemnist.config.load import Config


class Preparation(Settings):
    """Everything between a video and the pixels that a detector was trained on."""

    clips: Literal["cropped_here", "crops", "released"] = Field(
        "cropped_here",
        description="cropped_here: by the crop stage; crops: face crops of unknown origin, brought to the size and "
        "rate of the crop stage; released: finished clips of a published dataset, used as they are",
    )
    crop: CropSettings = Field(default_factory=CropSettings, description="settings of the crop stage")
    qualities: dict[Name, Quality] = Field(default_factory=dict, description="encodes of the clips; empty: not known")
    faces_searched_at: Name | None = Field(
        None,
        description="quality that the frames stage searches faces at, the first of the run; null: the first listed. "
        "Stated, because checkpoints sort their metadata",
    )
    frames: FrameSettings = Field(default_factory=FrameSettings, description="settings of the frames stage")

    @model_validator(mode="after")
    def _qualities_are_known(self) -> Preparation:
        if self.faces_searched_at is None and self.qualities:
            object.__setattr__(self, "faces_searched_at", next(iter(self.qualities)))
        named = {self.faces_searched_at, *(quality.after for quality in self.qualities.values())} - {None}
        if unknown := named - self.qualities.keys():
            raise ValueError(f"faces_searched_at and after name {sorted(map(str, unknown))}, which are no qualities")
        return self

    @classmethod
    def of(cls, config: Config) -> Preparation:
        """Return the preparation of a run's clips."""
        clips: Literal["cropped_here", "crops", "released"] = "cropped_here"
        if config.sources.released is not None:
            clips = "released"
        elif config.sources.cropped:
            clips = "crops"
        # The same stills as PNG change nothing, so they must not have detectors trained again.
        frames = config.frames.model_copy(update={"png": False})
        return cls(clips=clips, crop=config.crop, qualities=config.compress.qualities, frames=frames)

    def known_qualities(self, trained_on: str) -> dict[str, Quality]:
        """Return the encodes that a training set holds: one, or all of ``mixed``; empty where they are not known."""
        name = parse_training_set(trained_on).quality
        return {known: quality for known, quality in self.qualities.items() if name in (known, MIXED)}

    def encodes_for(self, name: str) -> dict[str, Quality]:
        """Return the encodes that frames of one quality depend on, the one that faces are searched at first."""
        needed = [name]
        if self.frames.region == "face" and self.faces_searched_at is not None:
            needed.insert(0, self.faces_searched_at)
        needed += [before for each in needed if (before := self.qualities[each].after)]
        return {each: self.qualities[each] for each in needed}
