"""Still frames for frame-level detectors: lossless WebP in one Parquet file per shard.

JPEG would be a second lossy compression on top of the one under study; PNG takes 1.7 times the space of WebP at its
fastest setting for the same time (39 against 64 kB per 256x256 frame of c23, measured).
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from deepfakemnist.errors import Failed
from deepfakemnist.media.decode import read_frames
from deepfakemnist.settings import FrameSettings
from deepfakemnist.shards import Tally, run_shard
from deepfakemnist.tables import FRAMES, OK, Row, atomic_path, read_rows

#: Rows of a row group: reading one image reads its group, 0.1 ms for 4 rows (measured).
ROW_GROUP = 16


def frames_shard(
    compressed: Path,
    table: Path,
    folder: Path,
    *,
    settings: FrameSettings,
    code: str,
    max_failed_fraction: float = 1.0,
) -> Tally:
    """Take evenly spaced frames of every clip, the same ones at every quality, and write ``table`` (``tables.FRAMES``).

    A clip that gives none is one row with frame_index -1 that says why.

    Args:
        compressed: table of encoded clips (``tables.COMPRESSED``).
        table: Parquet file to write, images included.
        folder: where the frames of finished clips wait until the shard is done; emptied of them afterwards.
        settings: number of frames.
        code: digest of this code.
        max_failed_fraction: see :func:`deepfakemnist.shards.run_shard`.

    Reasons beside those of reading a video: failed with length_differs.
    """
    clips: dict[str, Row] = {}
    for row in read_rows(compressed):
        if row["status"] == OK:
            clip = clips.setdefault(row["video_id"], {"video_id": row["video_id"], "label": row["label"], "files": []})
            clip["files"].append({name: row[name] for name in ("quality", "path", "frames", "fps", "pixels_sha256")})
    return run_shard(
        list(clips.values()),
        *(table, FRAMES, partial(_take_frames, folder=folder, settings=settings)),
        code=code,
        settings=settings,
        max_failed_fraction=max_failed_fraction,
        finish=_merge,
    )


def evenly_spaced(total: int, count: int) -> list[int]:
    """Return ``count`` ascending indices below ``total``, the middles of equal stretches; all when there are fewer."""
    if count >= total:
        return list(range(total))
    return [(2 * number + 1) * total // (2 * count) for number in range(count)]


def encode_image(picture: np.ndarray) -> bytes:
    """Return an (H,W,3) uint8 RGB picture as lossless WebP."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "WEBP", lossless=True, method=0, quality=0)
    return buffer.getvalue()


def decode_image(data: bytes) -> np.ndarray:
    """Return the (H,W,3) uint8 RGB picture of an ``image`` cell."""
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image.convert("RGB"))


def _take_frames(clip: Row, folder: Path, settings: FrameSettings) -> Row:
    """Write the frames of one clip at all its qualities to a file of their own, and name it in ``path``."""
    lengths = {file["frames"] for file in clip["files"]}
    if len(lengths) != 1:
        raise Failed(
            "length_differs", f"frames per quality: { {file['quality']: file['frames'] for file in clip['files']} }"
        )
    wanted = evenly_spaced(lengths.pop(), settings.per_clip)
    path = folder / f"{clip['video_id']}.parquet"
    with atomic_path(path) as part, _writer(part, {}) as writer:
        for file in clip["files"]:
            writer.write_table(pa.Table.from_pylist(list(_rows(clip, file, wanted)), FRAMES), row_group_size=ROW_GROUP)
    return {"path": str(path)}


def _rows(clip: Row, file: Row, wanted: list[int]) -> Iterator[Row]:
    missing = set(wanted)
    for index, picture in enumerate(read_frames(file["path"])):
        if index in missing:
            missing.remove(index)
            yield {
                "video_id": clip["video_id"],
                "label": clip["label"],
                "quality": file["quality"],
                "frame_index": index,
                "time_s": index / file["fps"],
                "width": picture.shape[1],
                "height": picture.shape[0],
                "image": encode_image(picture),
                **{"status": OK, "reason": "", "detail": ""},
            }
    if missing:
        raise Failed(
            "length_differs", f"{file['path']} has no frames {sorted(missing)}; its table says {file['frames']}"
        )


def _writer(path: Path, metadata: dict[str, str]) -> pq.ParquetWriter:
    # Images are compressed already and never repeat: snappy and a dictionary would only cost time.
    small = [name for name in FRAMES.names if name != "image"]
    compression = {name: "none" if name == "image" else "snappy" for name in FRAMES.names}
    return pq.ParquetWriter(path, FRAMES.with_metadata(metadata), use_dictionary=small, compression=compression)


def _merge(results: list[Row], table: Path, metadata: dict[str, str]) -> None:
    """Write the shard's table from the files of its clips, one row group in memory at a time."""
    parts = [Path(row["path"]) for row in results if row["status"] == OK]
    with atomic_path(table) as part, _writer(part, metadata) as writer:
        for row in results:
            if row["status"] == OK:
                for batch in pq.ParquetFile(row["path"]).iter_batches(batch_size=ROW_GROUP):
                    writer.write_table(pa.Table.from_batches([batch]).cast(FRAMES), row_group_size=ROW_GROUP)
            else:
                known = {name: row[name] for name in FRAMES.names if name in row}
                writer.write_table(pa.Table.from_pylist([{**known, "frame_index": -1}], FRAMES))
    for path in parts:
        path.unlink(missing_ok=True)
