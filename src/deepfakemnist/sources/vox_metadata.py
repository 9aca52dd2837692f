"""Adapter for ``vox-metadata.csv`` of FOMM's video-preprocessing, with a folder of the full videos.

A line is a segment of a video with one face box: ``start`` and ``end`` are frames at ``fps`` (25), the box is
``left-top-right-bottom`` in pixels of a ``width`` × ``height`` picture. Frame i of the full video belongs to the
segment when start · rate ≤ i · fps < end · rate, where rate is the video's own frame rate: the frames on screen from
start / fps until before end / fps. The box can be stretched to a square (crop policy ``vox-metadata``) or widened to
one (``square-track``). A segment whose video is not in the folder is rejected at ingest with ``missing_file``.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path

from deepfakemnist.errors import ConfigError
from deepfakemnist.ids import check_id, same_file_name
from deepfakemnist.sources.library import VideoLibrary
from deepfakemnist.sources.sheets import Sheet, refusal
from deepfakemnist.tables.schemas import Row
from deepfakemnist.tables.tsv import Lines

COLUMNS = ("video_id", "start", "end", "bbox", "fps", "width", "height", "person_id")


def read_vox_metadata(table: Path, videos: Path) -> Sheet:
    """Return a row for every line of the table, named person#video#start#end as FOMM names its crops.

    Args:
        table: the CSV; ``partition`` and other columns are ignored, since splits are by person.
        videos: folder with ``<video_id>.<suffix>`` at any depth.

    Raises: ConfigError for an unreadable table, wrong columns or no usable line. An invalid line is a refused row.
    """
    library = VideoLibrary(videos, "sources.vox_metadata.videos")
    sheet, lines = Sheet(left_aside=library.left_aside), dict[str, int]()
    content = Lines(table, "sources.vox_metadata.csv", delimiter=",", quoting=csv.QUOTE_MINIMAL)
    if lacking := [name for name in COLUMNS if name not in content.columns]:
        raise ConfigError(
            f"{table} line 1: columns {lacking} are missing; required are {list(COLUMNS)}, separated by commas"
        )
    for line, raw in content:
        try:
            row = _row(raw, library)
            if (file_name := same_file_name(row["video_id"])) in lines:
                raise ValueError(f"{row['video_id']} is already on line {lines[file_name]}, perhaps in another case")
        except (TypeError, ValueError, OverflowError) as error:
            name = f"{raw.get('video_id') or ''} (line {line})".strip()
            sheet.refused.append(refusal(name, f"{table} line {line}: {error}"))
            continue
        lines[file_name] = line
        sheet.rows.append(row)
    if not sheet.rows:
        why = f"; the first problem: {sheet.refused[0]['detail']}" if sheet.refused else ""
        raise ConfigError(f"{table} has no usable line below its header{why}")
    return sheet


def _row(raw: dict[str, str], library: VideoLibrary) -> Row:
    start, end = int(raw["start"]), int(raw["end"])
    rate, width, height = (float(raw[name]) for name in ("fps", "width", "height"))
    if not (0 <= start < end and all(0 < value < math.inf for value in (rate, width, height))):
        raise ValueError(f"start {start}, end {end}, fps {rate:g}, {width:g}x{height:g}: 0 <= start < end is required")
    sides = [float(side) for side in raw["bbox"].split("-")]
    if len(sides) != 4 or not (0 <= sides[0] < sides[2] < math.inf and 0 <= sides[1] < sides[3] < math.inf):
        raise ValueError(f"bbox {raw['bbox']!r} is not left-top-right-bottom with left < right and top < bottom")
    left, top, right, bottom = sides
    name, person = raw["video_id"], check_id(raw["person_id"])
    video_id = check_id(f"{person}#{name}#{start:06d}#{end:06d}")  # validated before the name becomes a path
    return {
        "video_id": video_id,
        "person_id": person,
        "role": "source",
        "action": "",
        "path": str(library.path_of(name, person)),
        "start_s": start / rate,
        "end_s": end / rate,
        "licence": None,
        "adapter": "vox-metadata",
        "boxes": [[start / rate, left, top, right - left, bottom - top]],
        "reference_width": width,
        "reference_height": height,
    }
