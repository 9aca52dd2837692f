"""Ingest: what each video file is, before anything is made of it. Nothing is copied."""

from collections.abc import Sequence
from pathlib import Path

from deepfakemnist.media.probe import probe
from deepfakemnist.shards import Tally, run_shard
from deepfakemnist.tables import INGESTED, Row


def ingest_shard(rows: Sequence[Row], table: Path, code: str, max_failed_fraction: float = 1.0) -> Tally:
    """Probe every video of a shard and write one INGESTED row each.

    Args:
        rows: sheet rows (``video_id``, ``path``, ``person_id``, ``role``, ``action``, ``start_s``, ``end_s``).
        table: table to write.
        code: digest of the probing code.
        max_failed_fraction: see ``run_shard``.
    """
    return run_shard(
        rows,
        table,
        INGESTED,
        lambda row: probe(row["path"]),
        code=code,
        blank=(),
        max_failed_fraction=max_failed_fraction,
    )
