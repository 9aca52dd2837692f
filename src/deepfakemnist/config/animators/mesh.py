"""Settings of the landmark mesh."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from deepfakemnist.config.animators.base import AnimatorSettings, StartFrame


class MeshSettings(AnimatorSettings):
    """Landmark mesh in 3-D: no weights, no GPU, any size.

    Raises: ValueError for weights, and for other than relative motion.
    """

    module: ClassVar[str] = "deepfakemnist.animate.animators.mesh"
    may_use_gpu: ClassVar[bool] = False

    name: Literal["mesh"] = "mesh"
    start_frame: StartFrame | None = Field(
        None,
        description="driver frame that relative motion starts from, which corresponds to the source picture. best: the "
        "one with the pose closest to the source; neutral: eyes open, mouth closed, frontal, neutral and sharp. null: "
        "neutral",
    )
    mouth: Literal["driver", "synthetic"] = Field(
        "driver",
        description="inside of a mouth that the source keeps closed. driver: the driver's pixels, lit like the "
        "source; synthetic: drawn, so that a fake shows the source's pixels only. The column mouth_from says which",
    )
    gaze: Literal["driver", "source"] = Field(
        "driver", description="driver: eyes move as the driver's do; source: they look where the source looks"
    )

    @model_validator(mode="before")
    @classmethod
    def _explain(cls, given: Any) -> Any:
        """Take the only values of what others can set, and say of other values what to do instead."""
        if not isinstance(given, Mapping):
            return given
        if given.get("weights") is not None:
            weights = given["weights"]
            raise ValueError(f"name: mesh takes no weights; set weights, now {weights}, to null, or name to fomm")
        if given.get("motion", "relative") != "relative" or given.get("adapt_scale") is False:
            raise ValueError(
                "name: mesh transfers motion relative to a start frame and to the size of the face; set motion: "
                "relative and adapt_scale: true"
            )
        return {key: value for key, value in given.items() if key not in ("weights", "motion", "adapt_scale")}

    @property
    def scales_motion(self) -> bool:
        """Whether relative motion is scaled by the ratio of the two face sizes: always."""
        return True

    @property
    def starts_from(self) -> StartFrame:
        """The start frame, also where the default applies."""
        return self.start_frame or "neutral"
