"""Settings of the Thin-Plate-Spline Motion Model: weights and motion transfer."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from deepfakemnist.config.animators.base import BatchSize, NetworkSettings, Precision, StartFrame, check_start


class TpsmmSettings(NetworkSettings):
    """Thin-Plate-Spline Motion Model (Zhao and Zhang 2022); the sizes of its networks are read off the weights.

    Raises: ValueError without weights, and for a start frame that the motion ignores.
    """

    module: ClassVar[str] = "deepfakemnist.animate.animators.tpsmm"

    name: Literal["tpsmm"] = "tpsmm"
    weights: Path | None = Field(
        None,
        description="official checkpoint (vox.pth.tar), the same as safetensors, or a .safetensors of this project; "
        "cannot be null, because this project does not train the model",
    )
    motion: Literal["standard", "relative", "avd"] = Field(
        "relative",
        description="relative: add the driver's motion since its start frame, scaled by the ratio of the face sizes, "
        "to the source; standard: use the driver's key points; avd: the driver's pose with the source's shape, by a "
        "network that not all weights have; its author advises against it for VoxCeleb",
    )
    start_frame: StartFrame | None = Field(
        None,
        description="driver frame that relative motion starts from, which corresponds to the source picture. best: the "
        "one with the pose closest to the source; neutral: eyes open, mouth closed, frontal, neutral and sharp. null: "
        "first",
    )
    precision: Precision = Field(
        "exact",
        description="arithmetic of painting on CUDA. exact: float32; tf32: TF32; fast: float16; layers that the GPU "
        "computes incorrectly stay in float32. Motion is always float32, and a CPU is always exact. Recorded per row",
    )
    batch_size: BatchSize = Field(
        "auto",
        description="frames per forward pass; auto: one per thread on a CPU, 32 on a GPU; halved when out of memory",
    )

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.weights is None:
            raise ValueError(
                "name: tpsmm needs weights: the official vox.pth.tar or another checkpoint of its layout, because this "
                "project does not train the model. docs/animators.md says where to find them"
            )
        check_start(self.motion, self.start_frame)
        return self

    @property
    def motion_mode(self) -> str:
        """How motion is transferred."""
        return self.motion

    @property
    def scales_motion(self) -> bool:
        """Whether relative motion is scaled by the ratio of the two face sizes: always."""
        return self.motion == "relative"

    @property
    def starts_from(self) -> StartFrame:
        """The start frame, also where the default applies."""
        return self.start_frame or "first"
