"""Record of the intermediate clips that were removed on purpose, so that nobody takes them for lost."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from deepfakemnist.tables.files import read_rows, write_table

#: Below the results.
FILE = "removed_clips.parquet"
_SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), metadata={"description": "removed clip, relative to the working directory"}),
        pa.field("table", pa.string(), metadata={"description": "table that names it, and whose job makes it again"}),
        pa.field("bytes", pa.int64(), metadata={"description": "size that the clip had"}),
    ]
)


class RemovedClip(NamedTuple):
    """A clip, the table of the stage that made it, and its size in bytes."""

    path: str
    table: str
    bytes: int


def read_removed(results: Path, root: Path = Path()) -> list[RemovedClip]:
    """Return the clips on record that are still not there.

    Args:
        results: folder of a run's results.
        root: folder that the paths are relative to, the working directory of the run.
    """
    record = results / FILE
    if not record.is_file():
        return []
    clips = (RemovedClip(row["path"], row["table"], row["bytes"]) for row in read_rows(record))
    return [clip for clip in clips if not (root / clip.path).is_file()]


def remove_clips(results: Path, clips: Iterable[RemovedClip]) -> int:
    """Record clips as removed and delete them; return the bytes freed.

    The record is written first: after a kill it names clips that are still there, which read_removed leaves out.
    """
    clips = list(clips)
    known = {clip.path: clip for clip in [*read_removed(results), *clips]}
    write_table([clip._asdict() for clip in known.values()], results / FILE, _SCHEMA)
    for clip in clips:
        Path(clip.path).unlink(missing_ok=True)
    return sum(clip.bytes for clip in clips)


def forget_removed(results: Path) -> None:
    """Drop the record: what is missing counts as lost from now on, and repair has it made again."""
    (results / FILE).unlink(missing_ok=True)
