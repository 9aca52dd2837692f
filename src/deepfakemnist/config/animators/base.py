"""Settings that all animators have, and the base classes of their own.

An animator's settings are a class of its own: a subclass of :class:`AnimatorSettings`, or of :class:`NetworkSettings`
or :class:`GpuSettings` if it has weights, with the name as a ``Literal`` and the module that renders as ``module``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from deepfakemnist.config.base import ACTIONS, Name, Settings, Sha256

StartFrame = Literal["first", "best", "neutral"]
Precision = Literal["exact", "tf32", "fast"]
BatchSize = Literal["auto"] | PositiveInt
#: Marks in names of training sets and of shards, which a label must not contain.
_RESERVED = ("only-", "without-", "-people-", "-split-", "-fold", "-by-driver")


class AnimatorSettings(Settings):
    """Settings of every animator.

    Class attributes for subclasses:
        module: importable module with ``load(settings, weights, device)``, which returns the animator.
        may_use_gpu: whether it runs on a GPU where there is one.
        gpu_only: whether a CPU is too slow for it, see :class:`GpuSettings`.
        renders_here: whether this project renders, and takes motions of drivers for it; otherwise clips are imported.
        shapes_weights: settings whose effect the sha256 of the weights covers.

    Raises: ValueError for a label that does not say which animator it is.
    """

    module: ClassVar[str]
    may_use_gpu: ClassVar[bool] = True
    gpu_only: ClassVar[bool] = False
    renders_here: ClassVar[bool] = True
    shapes_weights: ClassVar[tuple[str, ...]] = ()

    name: Name = Field(description="name of the animator")
    label: Name | None = Field(
        None,
        description="name of this entry in tables and training sets, if the same animator is listed twice: its name, "
        "or NAME-WORD; null: its name",
    )
    share: PositiveFloat = Field(
        1.0, description="share of the sources dealt to it, relative to the shares of the others"
    )
    quota: PositiveInt | None = Field(
        None, description="fakes to keep per action; null: its share of plan.quota. Needs plan.quota"
    )
    source_frame: Literal["best"] | Annotated[int, Field(ge=0)] = Field(
        "best",
        description="frame of the source to animate: its index, from 0, or best: eyes open, mouth closed, frontal, "
        "neutral and sharp",
    )

    @model_validator(mode="after")
    def _label_is_clear(self) -> Self:
        label = self.label
        if label is None:
            return self
        if label != self.name and not label.startswith(f"{self.name}-"):
            raise ValueError(
                f"label {label} must be {self.name} or begin with {self.name}-, so that tables say what it is"
            )
        if label in ACTIONS or any(mark in label for mark in _RESERVED):
            raise ValueError(f"label {label} would be ambiguous in names of training sets; choose another word")
        return self

    @property
    def named(self) -> str:
        """The label, also where the default applies."""
        return self.label or self.name

    @property
    def needs_training(self) -> bool:
        """Whether this run trains the animator."""
        return False

    @property
    def weight_file(self) -> Path | None:
        """Weights that the config names."""
        return None

    @property
    def weight_files(self) -> list[Path]:
        """Files that these weights consist of, more than one for weights in a folder."""
        return [] if self.weight_file is None else [self.weight_file]

    @property
    def motion_mode(self) -> str:
        """How motion is transferred, as recorded in rows."""
        return "relative"

    @property
    def scales_motion(self) -> bool | None:
        """Whether relative motion is scaled by the ratio of the two face sizes; None where it does not apply."""
        return None

    @property
    def rendering(self) -> Self:
        """The settings that decide the pixels of a fake, besides the weights; the others have their defaults.

        The source frame is a column of each row, so that a fake whose frame stays the same is kept when the setting
        changes.
        """
        elsewhere = ("share", "quota", "source_frame", "weights", "weights_sha256", "weights_url", *self.shapes_weights)
        fields = type(self).model_fields
        return self.model_copy(
            update={name: fields[name].get_default(call_default_factory=True) for name in elsewhere if name in fields}
        )


class NetworkSettings(AnimatorSettings):
    """Settings of an animator with weights.

    Raises: ValueError for a URL without a file or digest.
    """

    weights: Path | None = Field(None, description="weights")
    weights_sha256: Sha256 | None = Field(None, description="expected sha256 of weights; any other file is refused")
    weights_url: Annotated[str, Field(pattern="^https?://")] | None = Field(
        None, description="URL to download missing weights from; needs weights_sha256"
    )

    @model_validator(mode="after")
    def _url_is_complete(self) -> Self:
        if self.weights_url is not None and (self.weights is None or self.weights_sha256 is None):
            raise ValueError("weights_url needs weights (file to write) and weights_sha256 (its expected digest)")
        return self

    @property
    def weight_file(self) -> Path | None:
        """Weights that the config names."""
        return self.weights


class GpuSettings(NetworkSettings):
    """Settings of an animator with weights that is too slow for a CPU."""

    gpu_only: ClassVar[bool] = True

    allow_cpu: bool = Field(False, description="run on a CPU too, which takes many seconds per frame")


def check_start(motion: str, start_frame: StartFrame | None) -> None:
    """Raise ValueError for a start frame that absolute motion ignores."""
    if motion != "relative" and start_frame not in (None, "first"):
        raise ValueError(f"start_frame: {start_frame} has no effect with motion: {motion}; use relative")
