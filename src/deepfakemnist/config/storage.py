"""Settings of where a run keeps its videos."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from deepfakemnist.config.base import Settings


class StorageSettings(Settings):
    """How the videos of a shard reach the jobs that read them."""

    media: Literal["files", "packed"] = Field(
        "files",
        description="files: beside the tables, in a folder that all jobs see. packed: also in one archive per shard, "
        "which Snakemake carries between jobs that share no folder, through a bucket (docs/clusters.md). A change "
        "makes all tables again, and takes the videos over",
    )
