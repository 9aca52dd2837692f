"""Random-access reader of encoded frames in Parquet shards, one row group at a time."""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from deepfakemnist.tables.schemas import OK, Row

log = logging.getLogger(__name__)

#: Cached row groups per process. Frames are sampled at random over all shards, so a larger cache would rarely hit.
_CACHE_BYTES = 64 * 2**20
_OPEN_FILES = 64
#: A row group is read whole for one of its frames; above this size, reading takes longer than decoding the image.
_LARGE_GROUP_BYTES = 32 * 2**20
_COLUMNS = ["video_id", "quality", "frame_index", "status", "image"]


class BadFrame(ValueError):
    """A frame of the index cannot be read. The message names video, quality, frame, file and row."""


@dataclass(frozen=True)
class _OpenFile:
    file: pq.ParquetFile
    group_starts: NDArray[np.int64]  # first row of each row group, and the number of rows at the end


class FrameReader:
    """Reads encoded frames from Parquet shards; keeps recent files open and recent row groups in memory."""

    def __init__(self) -> None:
        self._files: OrderedDict[str, _OpenFile] = OrderedDict()
        self._groups: OrderedDict[tuple[str, int], pa.Table] = OrderedDict()
        self._bytes = 0
        self._warned = False

    def image(self, frame: Row) -> bytes:
        """Return the encoded image of a frame.

        Args:
            frame: video_id, quality, frame_index, shard_path and shard_row, as in the index.

        Raises: BadFrame when the shard cannot be read, or its row is another frame, not ok or without an image.
        """
        try:
            row = self._row(frame["shard_path"], frame["shard_row"])
        except (OSError, pa.ArrowException, IndexError) as error:
            raise BadFrame(f"{self.describe(frame)}: {error}") from error
        found = tuple(row[name] for name in ("video_id", "quality", "frame_index"))
        if found != (frame["video_id"], frame["quality"], frame["frame_index"]):
            raise BadFrame(
                f"{self.describe(frame)}: the row holds {found[0]}, {found[1]}, frame {found[2]}. The shard was "
                "rewritten after the index; regenerate the index"
            )
        if row["status"] != OK or not row["image"]:
            raise BadFrame(f"{self.describe(frame)}: the row has status {row['status']!r} and no image")
        image: bytes = row["image"]
        return image

    @staticmethod
    def describe(frame: Row) -> str:
        """Return the name of a frame for messages."""
        return (
            f"video {frame['video_id']}, quality {frame['quality']}, frame {frame['frame_index']} "
            f"({frame['shard_path']}, row {frame['shard_row']})"
        )

    def _row(self, path: str, row: int) -> Row:
        opened = self._open(path)
        rows = int(opened.group_starts[-1])
        if not 0 <= row < rows:
            raise IndexError(f"the shard has only {rows} rows")
        group = int(np.searchsorted(opened.group_starts, row, side="right")) - 1
        table = self._group(path, opened.file, group)
        found: Row = table.slice(row - int(opened.group_starts[group]), 1).to_pylist()[0]
        return found

    def _open(self, path: str) -> _OpenFile:
        if path in self._files:
            self._files.move_to_end(path)
            return self._files[path]
        file = pq.ParquetFile(Path(path), page_checksum_verification=True)
        if lacking := [name for name in _COLUMNS if name not in file.schema_arrow.names]:
            raise pa.ArrowInvalid(f"the shard has no column {', '.join(lacking)}")
        groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
        if not self._warned and max((group.total_byte_size for group in groups), default=0) > _LARGE_GROUP_BYTES:
            self._warned = True
            log.warning("%s has row groups above %d MiB; reading single frames is slow", path, _LARGE_GROUP_BYTES >> 20)
        self._files[path] = _OpenFile(file, np.cumsum([0, *(group.num_rows for group in groups)]))
        if len(self._files) > _OPEN_FILES:
            self._files.popitem(last=False)[1].file.close()
        return self._files[path]

    def _group(self, path: str, file: pq.ParquetFile, group: int) -> pa.Table:
        key = (path, group)
        if key in self._groups:
            self._groups.move_to_end(key)
            return self._groups[key]
        # Single-threaded: the data loader's workers share the cores already.
        table = file.read_row_group(group, columns=_COLUMNS, use_threads=False)
        self._groups[key] = table
        self._bytes += table.nbytes
        while self._bytes > _CACHE_BYTES and len(self._groups) > 1:
            self._bytes -= self._groups.popitem(last=False)[1].nbytes
        return table
