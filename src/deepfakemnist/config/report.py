"""Report settings: what stands above every page, and how much of the videos it carries."""

from __future__ import annotations

from pydantic import Field, NonNegativeFloat

from deepfakemnist.config.base import Settings


class ReportSettings(Settings):
    """What `snakemake --report` shows beside results."""

    notice: str | None = Field(
        None,
        description="sentence above every page of the report, such as that a run is preliminary or its numbers mean "
        "nothing; null: none",
    )
    gallery_mb: NonNegativeFloat = Field(
        2.0,
        description="maximum size of all clips on the gallery page, MB; clips are chosen and shortened to fit. "
        "In report.html they take 1.8 times as much. 0: no clips",
    )
