"""Every table of the workflow: its typed columns, and the one way it is written and read.

Each stage reads tables and writes one. All of them share three columns: ``status`` (``ok``, ``rejected``: a rule of
the data said no, ``failed``: an error), ``reason`` (a short stable code, empty when ok) and ``detail`` (the message).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Row = dict[str, Any]

OK, REJECTED, FAILED = "ok", "rejected", "failed"


def _field(name: str, kind: pa.DataType, description: str) -> pa.Field:
    return pa.field(name, kind, metadata={"description": description})


def _schema(*fields: pa.Field) -> pa.Schema:
    return pa.schema([*fields, *_STATUS])


_STATUS = (
    _field("status", pa.string(), "ok, rejected (a rule of the data said no) or failed (an error)"),
    _field("reason", pa.string(), "short stable code; empty when ok"),
    _field("detail", pa.string(), "what was seen and what is allowed"),
)
_VIDEO_ID = _field("video_id", pa.string(), "id of the clip; a fake is source@driver")
_PERSON = _field("person_id", pa.string(), "who is seen; splits are disjoint by it")
_ACTION = _field("action", pa.string(), "facial action shown; empty for sources")
_PATH = _field("path", pa.string(), "file, relative to the working directory")
_PIXELS = _field("pixels_sha256", pa.string(), "sha256 over the decoded RGB frames, independent of the container")
_CODE = _field("code", pa.string(), "digest of the library code that made the row")
_FRAMES = _field("frames", pa.int32(), "decoded frames")
_SOURCE_ID = _field("source_id", pa.string(), "video whose face is animated")
_DRIVER_ID = _field("driver_id", pa.string(), "driver whose motion moves it")
_DRIVER_PERSON = _field("driver_person_id", pa.string(), "who performs the driver")
_SPLIT = _field("split", pa.string(), "train, val or test; a person is in one only")
_PLAN_ORDER = _field("plan_order", pa.int64(), "rank within action and split; selection takes the first that pass")
_LABEL = _field("label", pa.int8(), "1 fake, 0 real")
_ANIMATOR_WEIGHTS = _field("checkpoint_sha256", pa.string(), "sha256 of the animator's weights")

INGESTED = _schema(
    _VIDEO_ID,
    _field("role", pa.string(), "source or driver"),
    _PERSON,
    _ACTION,
    _PATH,
    _field("start_s", pa.float64(), "start of the wanted segment, seconds; null for the whole video"),
    _field("end_s", pa.float64(), "end of the wanted segment, seconds; null for the whole video"),
    _field("licence", pa.string(), "licence the user states for the video"),
    _field("sha256", pa.string(), "sha256 of the file"),
    _field("bytes", pa.int64(), "size of the file"),
    _field("codec", pa.string(), "codec of the video stream"),
    _field("pix_fmt", pa.string(), "pixel format as stored"),
    _field("bit_depth", pa.int32(), "bits per colour component as stored"),
    _field("width", pa.int32(), "pixels, as stored, before rotation"),
    _field("height", pa.int32(), "pixels, as stored, before rotation"),
    _field("rotation", pa.int32(), "degrees counter-clockwise to upright: 0, 90, 180 or 270"),
    _field("fps", pa.float64(), "average frames per second"),
    _field("variable_rate", pa.bool_(), "frame times are uneven"),
    _field("duration_s", pa.float64(), "duration by frame times"),
    _FRAMES,
)

CROPPED = _schema(
    _VIDEO_ID,
    _field("role", pa.string(), "source or driver"),
    _PERSON,
    _ACTION,
    _PATH,
    _FRAMES,
    _field("fps", pa.float64(), "frames per second of the cropped clip"),
    _field("size", pa.int32(), "side of the square clip, pixels"),
    _field("box_left", pa.float64(), "left edge of the crop in upright source pixels; may be negative"),
    _field("box_top", pa.float64(), "top edge of the crop in upright source pixels; may be negative"),
    _field("box_side", pa.float64(), "side of the square crop in source pixels"),
    _field("face_px", pa.float64(), "median side of the face box in source pixels, sqrt(width × height)"),
    _field("face_fraction", pa.float64(), "share of the looked-at frames in which the tracked face was found"),
    _field("face_score", pa.float64(), "mean detector score over those frames, 0..1"),
    _field("sharpness", pa.float64(), "median variance of the Laplacian over looked-at frames of the crop"),
    _field("brightness", pa.float64(), "mean luma of the crop, 0..255"),
    _field("source_sha256", pa.string(), "sha256 of the file the clip was cut from"),
    _PIXELS,
    _CODE,
)

MOTIONS = _schema(
    _VIDEO_ID,
    _PERSON,
    _ACTION,
    _field("path", pa.string(), "npz with value (T,K,2) and jacobian (T,K,2,2), float32, of every driver frame"),
    _FRAMES,
    _field("animator", pa.string(), "animator the motion is for"),
    _ANIMATOR_WEIGHTS,
    _CODE,
)

PLANNED = _schema(
    _VIDEO_ID,
    _SOURCE_ID,
    _DRIVER_ID,
    _PERSON,
    _DRIVER_PERSON,
    _ACTION,
    _SPLIT,
    _field("round", pa.int32(), "planning round, from 1"),
    _PLAN_ORDER,
    _field("source_path", pa.string(), "cropped source clip"),
    _field("source_pixels_sha256", pa.string(), "pixel hash of the cropped source clip"),
    _field("motion_path", pa.string(), "driver's keypoint file"),
    _field("motion_frames", pa.int32(), "frames of the driver"),
)

ANIMATED = _schema(
    _VIDEO_ID,
    _SOURCE_ID,
    _DRIVER_ID,
    _PERSON,
    _DRIVER_PERSON,
    _ACTION,
    _SPLIT,
    _PLAN_ORDER,
    _PATH,
    _FRAMES,
    _field("source_frame", pa.int32(), "frame of the source clip that was animated, from 0"),
    _field("animator", pa.string(), "animator"),
    _field("motion_mode", pa.string(), "absolute, relative or relative-adapt"),
    _field("align_corners", pa.bool_(), "grid_sample convention of the warp"),
    _field("precision", pa.string(), "arithmetic of the appearance path"),
    _ANIMATOR_WEIGHTS,
    _PIXELS,
    _CODE,
)

VERDICTS = _schema(
    _VIDEO_ID,
    _ACTION,
    _field("provider", pa.string(), "liveness detector asked"),
    _field("asked_motion", pa.string(), "motion the provider was asked to see; silent when none"),
    _field("live", pa.bool_(), "the provider took the clip for a live person"),
    _field("score", pa.float64(), "provider's score, higher is more live; null when it gave none"),
    _field("threshold", pa.float64(), "threshold the score was held against"),
    _field("evidence", pa.string(), "JSON of everything the provider answered"),
    _field("provider_version", pa.string(), "weights hash or API version"),
    _field("latency_s", pa.float64(), "seconds the answer took"),
    _PIXELS,
    _CODE,
)

SELECTED = _schema(
    _VIDEO_ID,
    _SOURCE_ID,
    _DRIVER_ID,
    _PERSON,
    _ACTION,
    _SPLIT,
    _PLAN_ORDER,
    _PATH,
    _FRAMES,
    _field("liveness", pa.string(), "JSON: provider → {live, score, threshold}"),
    _PIXELS,
)

COMPRESSED = _schema(
    _VIDEO_ID,
    _LABEL,
    _field("quality", pa.string(), "raw, c23, c40 or a quality of the config"),
    _PATH,
    _FRAMES,
    _field("fps", pa.float64(), "frames per second"),
    _field("width", pa.int32(), "pixels"),
    _field("height", pa.int32(), "pixels"),
    _field("bytes", pa.int64(), "size of the file"),
    _field("encoder", pa.string(), "encoder settings as JSON"),
    _field("ffmpeg_argv", pa.string(), "ffmpeg's arguments as JSON"),
    _field("ffmpeg_version", pa.string(), "first line of ffmpeg -version"),
    _field("psnr_db", pa.float64(), "PSNR over RGB against the clip before encoding; null when lossless"),
    _field("input_pixels_sha256", pa.string(), "pixel hash of the clip that was encoded"),
    _PIXELS,
    _CODE,
)

FRAMES = _schema(
    _VIDEO_ID,
    _LABEL,
    _field("quality", pa.string(), "quality of the clip the frame is from"),
    _field("frame_index", pa.int32(), "index in the clip, from 0; -1 on a row for a clip that gave none"),
    _field("time_s", pa.float64(), "time in the clip, seconds"),
    _field("width", pa.int32(), "pixels"),
    _field("height", pa.int32(), "pixels"),
    _field("image", pa.binary(), "lossless WebP, RGB"),
)

FRAME_INDEX = pa.schema(
    [
        *(FRAMES.field(name) for name in ("video_id", "label", "quality", "frame_index", "time_s")),
        _SPLIT,
        _field("shard_path", pa.string(), "Parquet file that holds the image"),
        _field("shard_row", pa.int64(), "row in that file, from 0"),
    ]
)

VIDEOS = pa.schema(
    [
        _VIDEO_ID,
        _LABEL,
        _field("quality", pa.string(), "quality of the clip"),
        _SPLIT,
        _ACTION,
        _PERSON,
        _field("source_id", pa.string(), "video the clip shows: itself when real, the animated source when fake"),
        _field("driver_id", pa.string(), "driver of a fake; empty when real"),
        _field("driver_person_id", pa.string(), "who performs the driver; empty when real"),
        _PATH,
        *(COMPRESSED.field(name) for name in ("frames", "fps", "width", "height", "bytes", "encoder")),
        COMPRESSED.field("psnr_db"),
        _PIXELS,
        _field("animator", pa.string(), "animator of a fake; empty when real"),
        _field("motion_mode", pa.string(), "how motion was transferred; empty when real"),
        _field("checkpoint_sha256", pa.string(), "weights of the animator; empty when real"),
        _field("liveness", pa.string(), "JSON of the verdicts of a fake; empty when real"),
        _field("synthetic", pa.bool_(), "made by a model: true for every fake"),
    ]
)

LEDGER = pa.schema(
    [
        _field("kind", pa.string(), "source, driver or fake"),
        _VIDEO_ID,
        _PERSON,
        _ACTION,
        _field("stage", pa.string(), "last stage that saw it: where it ended, or the end of the road"),
        *_STATUS,
    ]
)

PREDICTIONS = pa.schema(
    [
        *(FRAMES.field(name) for name in ("video_id", "label", "quality", "frame_index")),
        _ACTION,
        _PERSON,
        _field("split", pa.string(), "split of the video"),
        _field("logit", pa.float32(), "detector's output before the sigmoid; higher is more fake"),
        _field("score", pa.float32(), "P(fake), 0..1"),
        _field("detector", pa.string(), "detector"),
        _field("trained_on", pa.string(), "quality or qualities of the training clips"),
        _field("seed", pa.int32(), "training seed"),
        _field("checkpoint_sha256", pa.string(), "sha256 of the detector's weights"),
    ]
)


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that becomes ``path`` when the block ends well, and vanishes otherwise.

    The temporary name keeps the suffix, because ffmpeg and others choose the format by it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem[:60]}.", suffix=f".part{path.suffix}", dir=path.parent)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)  # mkstemp makes files only the owner can read
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_table(
    rows: Iterable[Row] | pa.Table, path: Path | str, schema: pa.Schema, metadata: Mapping[str, str] | None = None
) -> None:
    """Write rows to a Parquet file, whole or not at all. Columns a row lacks become null; unknown ones are an error.

    Args:
        rows: dictionaries by column name, or a table that already has the schema.
        path: file to write.
        schema: one of this module's schemas.
        metadata: file-level facts, e.g. the fingerprint of what the table was made from.
    """
    if not isinstance(rows, pa.Table):
        rows = list(rows)
        unknown = {name for row in rows for name in row} - set(schema.names)
        if unknown:
            raise ValueError(f"columns {sorted(unknown)} are not in the schema of {path}: {schema.names}")
        rows = pa.Table.from_pylist(rows, schema=schema)
    with atomic_path(path) as part:
        # This replaces what the file says of itself; the descriptions of the columns stay.
        pq.write_table(rows.replace_schema_metadata(dict(metadata or {})), part)


def read_table(path: Path | str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a Parquet table (all columns, or those named)."""
    return pq.read_table(Path(path), columns=list(columns) if columns else None, partitioning=None)


def read_rows(paths: Path | str | Iterable[Path | str], columns: Sequence[str] | None = None) -> list[Row]:
    """Return the rows of one or several tables as dictionaries, in the order given."""
    if isinstance(paths, (str, Path)):
        paths = [paths]
    return [row for path in paths for row in read_table(path, columns).to_pylist()]


def read_metadata(path: Path | str) -> dict[str, str]:
    """Return the file-level metadata a table was written with."""
    raw = pq.read_schema(Path(path)).metadata or {}
    return {key.decode(): value.decode() for key, value in raw.items() if not key.startswith(b"ARROW:")}
