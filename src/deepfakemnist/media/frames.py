"""Frame extraction for frame-level detectors: lossless WebP in one Parquet file per shard.

JPEG would add a second lossy compression to the one under study; at their fastest settings and in the same time, PNG
takes 1.7 times the space of WebP (64 against 39 kB per 256x256 frame of c23, measured). The WebP encoder accounts for
2 of the 3 ms that a frame costs; see benchmarks/frames.json.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from deepfakemnist.config.dataset import FrameSettings
from deepfakemnist.errors import Failed
from deepfakemnist.ids import seed_from
from deepfakemnist.media.container import every_frame, open_video
from deepfakemnist.media.decode import frame_time
from deepfakemnist.media.picture import Picture
from deepfakemnist.tables.checksums import check_unchanged, checked_writer
from deepfakemnist.tables.files import atomic_path, read_rows, sync_files
from deepfakemnist.tables.schemas import FRAMES, OK, Row
from deepfakemnist.tables.shards import Tally, run_shard

FindFace = Callable[[np.ndarray], tuple[float, float, float, float] | None]
#: Rows per row group: reading one image reads its whole group, 0.1 ms for 4 rows (measured).
ROW_GROUP = 16


class Region(NamedTuple):
    """A rectangle of a picture, in pixels."""

    left: int
    top: int
    width: int
    height: int


def frames_shard(
    compressed: Path,
    table: Path,
    folder: Path,
    *,
    settings: FrameSettings,
    code: str,
    find_face: FindFace | None = None,
    max_failed_fraction: float = 1.0,
) -> Tally:
    """Extract frames of every clip, the same ones at every quality, and write ``table`` (``tables.FRAMES``).

    A clip that yields none becomes one row with frame_index -1 and the reason.

    Args:
        compressed: table of encoded clips (``tables.COMPRESSED``).
        table: Parquet file to write, with the images.
        folder: holds the frames of finished clips until the shard is complete; they are deleted afterwards.
        settings: number of frames, sampling policy, region.
        code: digest of this code.
        find_face: returns (left, top, width, height) of the face in an (H,W,3) uint8 RGB picture, or None; required
            for the region ``face``.
        max_failed_fraction: see :func:`deepfakemnist.tables.shards.run_shard`.

    Reasons besides those of :mod:`.container`: failed with length_differs or input_changed.
    """
    if (settings.region == "face") != (find_face is not None):
        raise ValueError("find_face is required for the region face, and only for it")
    clips: dict[str, Row] = {}
    hashes: dict[str, str | None] = {}
    for row in read_rows(compressed):
        if row["status"] == OK:
            hashes[row["path"]] = row.get("sha256")
            clip = clips.setdefault(row["video_id"], {"video_id": row["video_id"], "label": row["label"], "files": []})
            clip["files"].append({name: row[name] for name in ("quality", "path", "frames", "pixels_sha256")})

    def extract(clip: Row) -> Row:
        for file in clip["files"]:
            check_unchanged(file["path"], hashes[file["path"]])
        return _extract_frames(clip, folder, settings, find_face)

    return run_shard(
        list(clips.values()),
        table,
        FRAMES,
        extract,
        code=code,
        settings=settings,
        max_failed_fraction=max_failed_fraction,
        finish=_merge,
        keep_journal=False,
        keep_table=True,
    )


def evenly_spaced(total: int, count: int) -> list[int]:
    """Return ``count`` ascending indices below ``total``, the centres of equal intervals; all when there are fewer."""
    if count >= total:
        return list(range(total))
    return [(2 * number + 1) * total // (2 * count) for number in range(count)]


def encode_image(picture: np.ndarray) -> bytes:
    """Return an (H,W,3) uint8 RGB picture as lossless WebP."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "WEBP", lossless=True, method=0, quality=0)
    return buffer.getvalue()


def decode_image(data: bytes) -> np.ndarray:
    """Return the (H,W,3) uint8 RGB picture of an ``image`` cell. Raises: OSError when it is not an image."""
    # OpenCV decodes straight into an array, in three quarters of Pillow's time.
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if data else None
    if picture is None:
        raise OSError("cannot decode the image")
    return np.asarray(picture, np.uint8)


def sampled_frames(video_id: str, total: int, settings: FrameSettings) -> list[int]:
    """Return the ascending indices of the frames to sample from a clip of ``total`` frames."""
    count = min(settings.per_clip, total)
    if settings.policy == "all":
        return list(range(total))
    if settings.policy == "first":
        return list(range(count))
    if settings.policy == "random":
        rng = np.random.default_rng(seed_from("frames", video_id))
        return sorted(rng.choice(total, count, replace=False).tolist())
    return evenly_spaced(total, count)


def square_around(box: tuple[float, float, float, float], scale: float, width: int, height: int) -> Region:
    """Return a square of ``scale`` times a box's longer side around its centre, shifted into the picture.

    A square larger than the picture becomes the largest that fits.
    """
    side = min(round(max(box[2], box[3]) * scale), width, height)
    left = round(box[0] + box[2] / 2 - side / 2)
    top = round(box[1] + box[3] / 2 - side / 2)
    return Region(min(max(left, 0), width - side), min(max(top, 0), height - side), side, side)


def sampled_pictures(
    clip: Row, settings: FrameSettings, find_face: FindFace | None
) -> Iterator[tuple[Row, int, float, np.ndarray, Row]]:
    """Yield the sampled frames of one clip at every quality, cut to the region.

    Args:
        clip: ``video_id`` and ``files``, one per quality, each with ``path`` and ``frames``.
        settings: number of frames, sampling policy, region.
        find_face: see :func:`frames_shard`; faces are searched in the first file.

    Returns: file, frame index, seconds after the first frame, (H,W,3) uint8 RGB, and the region's columns of FRAMES.

    Raises: Failed with reason length_differs, or a reason of :mod:`.container`.
    """
    lengths = {file["frames"] for file in clip["files"]}
    if len(lengths) != 1:
        raise Failed(
            "length_differs", f"frames per quality: { {file['quality']: file['frames'] for file in clip['files']} }"
        )
    wanted = sampled_frames(clip["video_id"], lengths.pop(), settings)
    regions: dict[int, Region | None] = {}
    if find_face:
        # Detected once, at the first quality: compression artefacts would shift the box between qualities.
        for index, _, picture in _pictures(clip["files"][0], wanted):
            face = find_face(picture)
            height, width = picture.shape[:2]
            regions[index] = square_around(face, settings.face_scale, width, height) if face else None
    for file in clip["files"]:
        for index, time, picture in _pictures(file, wanted):
            yield file, index, time, *_crop_region(picture, index, regions)


def _extract_frames(clip: Row, folder: Path, settings: FrameSettings, find_face: FindFace | None) -> Row:
    """Write the frames of one clip at all qualities to one file; return its path as ``path``."""
    path = folder / f"{clip['video_id']}.parquet"
    pngs: list[Path] = []
    with atomic_path(path) as part, _writer(part, {}) as writer:
        for _, frames in groupby(sampled_pictures(clip, settings, find_face), key=lambda frame: frame[0]["quality"]):
            rows = []
            for file, index, time, shown, facts in frames:
                rows.append({**_row(clip, file, index, time), **facts, "image": encode_image(shown)})
                if settings.png:
                    pngs.append(folder / "png" / file["quality"] / clip["video_id"] / f"{index:04d}.png")
                    _write_png(pngs[-1], shown)
            writer.write_table(pa.Table.from_pylist(rows, FRAMES), row_group_size=ROW_GROUP)
    sync_files(pngs)
    return {"path": str(path)}


def _pictures(file: Row, wanted: list[int]) -> Iterator[tuple[int, float, np.ndarray]]:
    """Yield index, seconds after the first frame, and RGB of the wanted frames."""
    missing = set(wanted)
    # Read to the end, which proves that no frame is missing; only sampled frames are converted to RGB.
    with open_video(file["path"]) as video:
        duration = video.frame_duration
        for index, frame in enumerate(every_frame(video)):
            if index == 0:
                origin = frame_time(frame, Fraction(0))
            if index in missing:
                missing.remove(index)
                time = frame_time(frame, origin + index * duration) - origin
                yield index, float(time), Picture(frame).rgb()
    if missing:
        raise Failed(
            "length_differs", f"{file['path']} has no frames {sorted(missing)}; its table says {file['frames']}"
        )


def _crop_region(picture: np.ndarray, index: int, regions: dict[int, Region | None]) -> tuple[np.ndarray, Row]:
    """Return the pixels to store and their columns; a frame without a face takes the nearest frame's region."""
    found = regions.get(index)
    known = [at for at, region in regions.items() if region]
    nearest = regions[min(known, key=lambda at: abs(at - index))] if known else None
    region = found or nearest or Region(0, 0, picture.shape[1], picture.shape[0])
    shown = picture[region.top : region.top + region.height, region.left : region.left + region.width]
    return shown, {
        "face_found": found is not None if regions else None,
        "region_left": region.left,
        "region_top": region.top,
        "width": region.width,
        "height": region.height,
    }


def _row(clip: Row, file: Row, index: int, time: float) -> Row:
    return {
        "video_id": clip["video_id"],
        "label": clip["label"],
        "quality": file["quality"],
        "frame_index": index,
        "time_s": time,
        "status": OK,
        "reason": "",
        "detail": "",
    }


def _write_png(path: Path, picture: np.ndarray) -> None:
    # Level 1: a fifth larger than the default of 6 in a third of the time (measured).
    with atomic_path(path, flush=False) as part:
        Image.fromarray(picture).save(part, compress_level=1)


def _writer(path: Path, metadata: dict[str, str]) -> AbstractContextManager[pq.ParquetWriter]:
    # Images are already compressed and never repeat, so snappy and a dictionary would only cost time.
    small = [name for name in FRAMES.names if name != "image"]
    compression = {name: "none" if name == "image" else "snappy" for name in FRAMES.names}
    return checked_writer(path, FRAMES, metadata, use_dictionary=small, compression=compression)


def _merge(results: list[Row], table: Path, metadata: dict[str, str]) -> None:
    """Merge the files of the clips into the shard's table, one row group in memory at a time."""
    parts = [Path(row["path"]) for row in results if row["status"] == OK]
    with atomic_path(table) as part, _writer(part, metadata) as writer:
        for row in results:
            if row["status"] == OK:
                for batch in pq.ParquetFile(row["path"], page_checksum_verification=True).iter_batches(
                    batch_size=ROW_GROUP
                ):
                    writer.write_table(pa.Table.from_batches([batch]).cast(FRAMES), row_group_size=ROW_GROUP)
            else:
                known = {name: row[name] for name in FRAMES.names if name in row}
                writer.write_table(pa.Table.from_pylist([{**known, "frame_index": -1}], FRAMES))
    for path in parts:
        path.unlink(missing_ok=True)
