"""Settings of clips rendered elsewhere: by a diffusion model, a commercial service or another repository."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from deepfakemnist.config.animators.base import AnimatorSettings


class RenderedSettings(AnimatorSettings):
    """Clips that something outside of this project renders, of the pairs that this run plans.

    Raises: ValueError without a table.
    """

    module: ClassVar[str] = "deepfakemnist.animate.rendered"
    may_use_gpu: ClassVar[bool] = False
    renders_here: ClassVar[bool] = False
    # Each row names its clip by content.
    shapes_weights: ClassVar[tuple[str, ...]] = ("clips",)

    name: Literal["rendered"] = "rendered"
    clips: Path | None = Field(
        None,
        description="table of the clips (.csv, .tsv or .parquet) with the columns source_id, driver_id, action, path, "
        "animator, licence, weights_sha256; cannot be null, but need not exist before the clips are rendered. Relative "
        "paths start at its folder. Rows belong to this entry if their animator is its label, or WORD of the label "
        "rendered-WORD",
    )

    @model_validator(mode="after")
    def _names_a_table(self) -> Self:
        if self.clips is None:
            raise ValueError(
                "name: rendered needs clips, the table of the rendered clips; `deepfakemnist plan export` writes it "
                "(docs/rendered_elsewhere.md)"
            )
        if self.clips.suffix not in (".csv", ".tsv", ".parquet"):
            raise ValueError(f"clips: {self.clips} must end in .csv, .tsv or .parquet")
        return self

    @property
    def table(self) -> Path:
        """The table of the clips."""
        assert self.clips is not None  # checked above
        return self.clips

    @property
    def words(self) -> frozenset[str]:
        """What the column ``animator`` says in rows of this entry."""
        return frozenset({self.named, self.named.removeprefix(f"{self.name}-")})

    @property
    def motion_mode(self) -> str:
        """How motion is transferred: unknown."""
        return "rendered"
