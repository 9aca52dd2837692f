"""Ingest stage: video probing and annotation import, one row per video.

Files stay where they are; their checksum lets later stages notice a change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from deepfakemnist.config.base import MediaLimits
from deepfakemnist.errors import Rejected
from deepfakemnist.media.limits import limited
from deepfakemnist.media.probe import probe
from deepfakemnist.tables.file_versions import sha256_in, to_metadata, versions_of
from deepfakemnist.tables.files import write_table
from deepfakemnist.tables.schemas import INGESTED, Row
from deepfakemnist.tables.shards import Tally, run_shard


class Annotation(Protocol):
    """An annotation of a video: its segment and the face boxes in it."""

    start_s: float
    end_s: float
    boxes: list[list[float]]


ReadAnnotation = Callable[[str], Annotation]


def ingest_shard(
    rows: Sequence[Row],
    table: Path,
    code: str,
    max_failed_fraction: float = 1.0,
    read_annotation: ReadAnnotation | None = None,
    limits: MediaLimits | None = None,
) -> Tally:
    """Probe every video of a shard and write one INGESTED row each.

    Args:
        rows: sheet rows (``video_id``, ``path``, ``person_id``, ``role``, ``action``, ``start_s``, ``end_s``) plus the
            columns of their adapter, see :mod:`deepfakemnist.sources`.
        table: table to write.
        code: digest of this code.
        max_failed_fraction: see ``run_shard``.
        read_annotation: reads the file named in a row's ``annotation``, e.g. VoxCeleb1's.
        limits: on pixels, frames, seconds and memory; None: the default ones.

    Reasons besides those of :mod:`.container`: failed with bad_annotation. A missing file is ``failed`` when a sheet
    or folder lists it, and ``rejected`` when a published video list does, since nobody has all of its videos.
    """
    # Known by content, so that a job that runs again probes the videos that have changed and no others. The rule reads
    # the versions from the table, and runs again when one has changed.
    versions = versions_of(path for row in rows for path in (row["path"], row.get("annotation")) if path)
    rows = [
        {
            **row,
            "file": sha256_in(versions, row["path"]),
            "annotated": sha256_in(versions, row.get("annotation")),
        }
        for row in rows
    ]

    def finish(made: list[Row], path: Path, metadata: dict[str, str]) -> None:
        write_table(made, path, INGESTED, {**metadata, **to_metadata(versions)})

    return run_shard(
        rows,
        table,
        INGESTED,
        partial(ingest_video, read_annotation=read_annotation, limits=limits),
        code=code,
        settings=limits,
        depends_on=sorted({name for row in rows for name in row} - {"person_id", "action", "adapter"}),
        finish=finish,
        blank=(),
        max_failed_fraction=max_failed_fraction,
    )


def ingest_video(row: Row, read_annotation: ReadAnnotation | None = None, limits: MediaLimits | None = None) -> Row:
    """Return the INGESTED columns that come from a row's file and annotation. Raises: Failed, Rejected."""
    if "reference_height" in row and not Path(row["path"]).is_file():
        raise Rejected("missing_file", f"{row['path']}: no such file; download the video, or leave it out")
    start, end, boxes = row["start_s"], row["end_s"], row.get("boxes")
    if row.get("annotation"):
        if read_annotation is None:
            raise ValueError("a row names an annotation, but no reader was given")
        annotation = read_annotation(row["annotation"])
        start, end, boxes = annotation.start_s, annotation.end_s, annotation.boxes
    with limited(limits or MediaLimits(), row["path"]):
        facts = probe(row["path"], start_s=start, end_s=end)
    return {**facts, "start_s": start, "end_s": end, "boxes": _in_pixels(boxes, row, facts)}


def _in_pixels(boxes: list[list[float]] | None, row: Row, facts: dict[str, Any]) -> list[list[float]] | None:
    """Return boxes in pixels of the video, scaled from the annotation's reference size."""
    if not boxes:
        return None
    width, height = facts["display_width"], facts["display_height"]
    scale_y = height / row["reference_height"]
    scale_x = width / row["reference_width"] if row["reference_width"] else scale_y
    return [
        [time, left * scale_x, top * scale_y, wide * scale_x, high * scale_y] for time, left, top, wide, high in boxes
    ]
