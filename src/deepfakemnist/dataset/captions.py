"""Captions of the sources: what the user states about them and what decides nothing in a picture, e.g. the licence.

They are kept apart from the tables of the stages and from ``videos.parquet``, so that an edit re-runs no stage and
retrains no detector.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deepfakemnist.tables.dataset_schemas import CAPTIONS
from deepfakemnist.tables.files import read_rows, write_table
from deepfakemnist.tables.schemas import Row

FILE = "captions.parquet"


def write_captions(sources: Sequence[Row], table: Path) -> None:
    """Write ``table`` (``dataset_schemas.CAPTIONS``), a row per source.

    Args:
        sources: rows with ``source_id``, ``person_id`` and ``licence``, which may be None.
        table: file to write, ``captions.parquet`` in the folder of the manifest.
    """
    rows = [{**row, "licence": row["licence"] or ""} for row in sources]
    write_table(sorted(rows, key=lambda row: str(row["source_id"])), table, CAPTIONS)


def add_captions(videos: Sequence[Row], manifest: Path) -> list[Row]:
    """Return rows of ``dataset_schemas.VIDEOS`` with the captions of their sources.

    Args:
        videos: rows of a manifest.
        manifest: folder of that manifest. One without captions, such as an imported one, states no licence; in one of
            version 0.2 or earlier they are columns of the videos.
    """
    table = manifest / FILE
    licences = {row["source_id"]: row["licence"] for row in read_rows(table)} if table.is_file() else {}
    return [{**row, "licence": licences.get(row["source_id"], row.get("licence")) or ""} for row in videos]
