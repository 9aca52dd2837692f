"""Settings of LivePortrait."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from deepfakemnist.config.animators.base import BatchSize, GpuSettings, StartFrame, check_start

#: Official files, without suffix.
FILES = (
    "appearance_feature_extractor",
    "motion_extractor",
    "warping_module",
    "spade_generator",
    "stitching_retargeting_module",
)
#: Where they may lie in the folder: in itself, or where a download of the official ones puts them.
SUBFOLDERS = ("", "base_models", "retargeting_models", "liveportrait/base_models", "liveportrait/retargeting_models")
_SUFFIXES = (".pth", ".safetensors")


def find_weight_files(folder: Path) -> dict[str, Path]:
    """Return the official files that a folder has, by the name without suffix."""
    found: dict[str, Path] = {}
    for name in FILES:
        paths = (folder / subfolder / f"{name}{suffix}" for subfolder in SUBFOLDERS for suffix in _SUFFIXES)
        if (path := next((path for path in paths if path.is_file()), None)) is not None:
            found[name] = path
    return found


class LivePortraitSettings(GpuSettings):
    """LivePortrait (Guo et al. 2024): implicit keypoints in 3-D, stitching, 512 pixels; needs its authors' weights.

    Raises: ValueError for settings that contradict each other.
    """

    module: ClassVar[str] = "deepfakemnist.animate.animators.liveportrait"

    name: Literal["liveportrait"] = "liveportrait"
    weights: Path | None = Field(
        None,
        description="folder with the five official files (.pth or converted to .safetensors), or one .safetensors that "
        "`deepfakemnist animator convert` made of them",
    )
    motion: Literal["relative", "absolute"] = Field(
        "relative",
        description="relative: add the driver's motion since its start frame to the source; absolute: take the "
        "driver's pose, and its expression at eyes and lips",
    )
    region: Literal["all", "exp", "pose", "lip", "eyes"] = Field(
        "all", description="what follows the driver: everything, the expression, the head pose, lips or eyes alone"
    )
    stitching: bool = Field(True, description="keep shoulders and background of the source in place")
    driving_multiplier: PositiveFloat = Field(1.0, description="strength of the motion")
    normalize_lip: bool = Field(
        False, description="close the lips of a source that has them open; with motion: relative, without retargeting"
    )
    eye_retargeting: bool = Field(
        False,
        description="open eyes as far as the driver does, by this project's landmarks. As in the original, the other "
        "motion of the driver is then lost with motion: relative",
    )
    lip_retargeting: bool = Field(False, description="the same for lips")
    framing: Literal["crop", "official"] = Field(
        "crop",
        description="what the networks see of the source. crop: this run's crop; official: the original's, turned "
        "upright and 2.3 times the face, black beyond the crop; its frames are pasted back into this run's crop. "
        "Recorded per row",
    )
    start_frame: StartFrame | None = Field(
        None,
        description="driver frame that relative motion starts from, which corresponds to the source picture. best: the "
        "one with the pose closest to the source; neutral: eyes open, mouth closed, frontal, neutral and sharp. null: "
        "first, as in the original",
    )
    precision: Literal["exact", "fast"] = Field(
        "exact",
        description="arithmetic on CUDA. exact: float32; fast: float16 where torch's autocast allows it, as the "
        "original does. A CPU is always exact. Recorded per row",
    )
    batch_size: BatchSize = Field(
        "auto", description="frames per forward pass; auto: 8 on a GPU, 1 on a CPU; halved when out of memory"
    )

    @model_validator(mode="after")
    def _modes_agree(self) -> Self:
        if self.weights is None:
            raise ValueError(
                "name: liveportrait needs weights: a folder with the five official files; docs/animators.md says where "
                "they are"
            )
        check_start(self.motion, self.start_frame)
        retargeting = self.eye_retargeting or self.lip_retargeting
        if self.normalize_lip and (self.motion == "absolute" or retargeting):
            raise ValueError(
                "normalize_lip: true has no effect with motion: absolute, eye_retargeting or lip_retargeting"
            )
        if self.motion == "relative" and retargeting and self.region != "all":
            raise ValueError(
                f"region: {self.region} has no effect with eye_retargeting or lip_retargeting and motion: relative, "
                "where eyes or lips alone move"
            )
        return self

    @property
    def weight_files(self) -> list[Path]:
        """The five files of a folder, also those that it lacks; or the packed one."""
        if self.weights is None or not self.weights.is_dir():
            return super().weight_files
        found = find_weight_files(self.weights)
        return [found.get(name, self.weights / f"{name}.pth") for name in FILES]

    @property
    def motion_mode(self) -> str:
        """How motion is transferred."""
        return self.motion

    @property
    def scales_motion(self) -> bool | None:
        """Whether the size of the face follows the driver's relative to its start frame; None where it does not."""
        return self.motion == "relative" and self.region == "all"

    @property
    def starts_from(self) -> StartFrame:
        """The start frame, also where the default applies."""
        return self.start_frame or "first"
