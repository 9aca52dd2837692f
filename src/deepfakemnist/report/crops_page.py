"""Report page with a picture of every face crop, sources apart from drivers, and of what was left out."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deepfakemnist.errors import Failed, Rejected
from deepfakemnist.media.decode import read_frames
from deepfakemnist.report.gallery_clips import data_url
from deepfakemnist.report.pages import render, write_page
from deepfakemnist.report.parts import Block, Lead
from deepfakemnist.report.reason_texts import what_happened
from deepfakemnist.tables.files import read_rows
from deepfakemnist.tables.schemas import OK, Row

_LEAD = Lead(
    "The middle frame of every face crop, first of sources, then of drivers by action, and of videos left out at "
    "ingest or crop, with the reason.",
    "A number in pixels is the median side of the face in its video: a crop of a small face is enlarged. What was left "
    "out is shown as the video has it, not cropped.",
    "One frame says nothing about the others: a crop that looks good here may have been tracked badly.",
)
_SIDE, _QUALITY = 128, 60
#: Pictures at most, of sources, of drivers, and of what was left out.
_MAX_CROPS, _MAX_LEFT_OUT = 120, 60
_NAME_LENGTH = 30
_CROP_COLUMNS = ("video_id", "role", "action", "path", "frames", "face_px", "status", "reason", "detail")
_INGEST_COLUMNS = ("video_id", "role", "path", "start_s", "end_s", "duration_s", "status", "reason", "detail")


def write_crops_page(ingested: Sequence[str], cropped: Sequence[str], path: Path, notices: Sequence[str] = ()) -> None:
    """Write the page; of many crops, an even subset.

    Args:
        ingested, cropped: tables of ingest and crop, of sources and drivers.
        path: HTML file to write.
        notices: see :func:`deepfakemnist.report.pages.write_page`.
    """
    videos, crops = read_rows(ingested, _INGEST_COLUMNS), read_rows(cropped, _CROP_COLUMNS)
    blocks = []
    for role, title in (("source", "Sources"), ("driver", "Drivers")):
        rows = [row for row in crops if row["role"] == role and row["status"] == OK]
        rows.sort(key=lambda row: (row["action"] or "", row["video_id"]))
        shown = _even_subset(rows, _MAX_CROPS)
        blocks.append(_block(title, [_crop(row) for row in shown], len(rows)))
    by_id = {(row["role"], row["video_id"]): row for row in videos}
    left_out = [row for row in (*videos, *crops) if row["status"] != OK]
    shown = _even_subset(left_out, _MAX_LEFT_OUT)
    items = [_left_out(row, by_id.get((row["role"], row["video_id"]), row)) for row in shown]
    blocks.append(_block("Left out", items, len(left_out), is_wide=True))
    write_page(path, "Face crops", _LEAD, blocks, notices)


def shortened(name: str, length: int = _NAME_LENGTH) -> str:
    """Return a name of at most ``length`` characters, with an ellipsis in the middle where it is longer."""
    if len(name) <= length:
        return name
    head = length // 2
    return f"{name[:head]}…{name[len(name) - (length - head - 1) :]}"


def _even_subset(rows: Sequence[Row], most: int) -> list[Row]:
    places = np.linspace(0, len(rows) - 1, min(len(rows), most)).round().astype(int)
    return [rows[place] for place in places]


def _block(title: str, items: Sequence[dict[str, Any]], count: int, is_wide: bool = False) -> Block:
    html = render("crops.html.j2", items=items, count=count, is_wide=is_wide)
    return Block(f"{title}: {count:,}", html)


def _crop(row: Row) -> dict[str, Any]:
    frame = _frame(row["path"], number=row["frames"] // 2)
    facts = [row["action"].replace("_", " ")] if row["action"] else []
    return _item(row["video_id"], frame, [*facts, f"{row['face_px']:.0f} px"])


def _left_out(row: Row, video: Row) -> dict[str, Any]:
    """Return a video that was left out, with its middle frame where one can be decoded."""
    start = video["start_s"] or 0.0
    length = (video["end_s"] - start if video["end_s"] else video["duration_s"]) or 0.0
    frame = _frame(video["path"], start_s=start + length / 2)
    reason = f"{row['role']}, {row['status']}: {what_happened(row['reason'])}"
    return _item(row["video_id"], frame, [reason, row["detail"] or ""])


def _item(name: str, frame: NDArray[np.uint8] | None, facts: Sequence[str]) -> dict[str, Any]:
    url = ""
    if frame is not None:
        picture = Image.fromarray(frame)
        picture.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        picture.save(buffer, format="WEBP", quality=_QUALITY, method=6)
        url = data_url("image/webp", buffer.getvalue())
    return {"name": name, "short": shortened(name), "url": url, "facts": [fact for fact in facts if fact]}


def _frame(path: str | None, number: int = 0, start_s: float | None = None) -> NDArray[np.uint8] | None:
    """Return a frame of a video, the first one where it has none there; None where none can be decoded."""
    if not path or not Path(path).is_file():
        return None
    for skipped, start in ((number, start_s), (0, None)):
        try:
            frame = next(islice(read_frames(path, start_s=start), skipped, None), None)
        except (Failed, Rejected):
            continue
        if frame is not None:
            return frame
    return None
