"""Disk settings: space to keep free, and what becomes of intermediate clips."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat

from deepfakemnist.config.base import Settings


class DiskSettings(Settings):
    """What the run leaves free, and what it leaves behind."""

    reserve_gb: NonNegativeFloat = Field(
        1.0,
        description="space to keep free where results are written, GB; a job that would go below it stops, and the "
        "next run resumes there. 0: write until the disk is full",
    )
    limit_gb: NonNegativeFloat | None = Field(
        None,
        description="space that the run may still fill, GB, such as what is left of a quota, which the file system "
        "does not tell; null: what the file system says is free",
    )
    on_shortage: Literal["stop", "warn"] = Field(
        "stop", description="when the run will probably need more space than there is: stop before any job, or warn"
    )
    intermediate: Literal["keep", "remove"] = Field(
        "keep",
        description="face crops and animations once the run is complete, pages included. keep: nothing is removed. "
        "remove: the dataset stays, the clips it was encoded from go; `deepfakemnist gc --restore` has them made again",
    )
