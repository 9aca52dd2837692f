"""Adapter for VoxCeleb1 annotations, ``txt/<person>/<video>/<utterance>.txt``, with a folder of the full videos.

A file has six header lines, then a tab-separated table with one face box per frame. Column names end in spaces
(``"FRAME "``), frames count at 25 fps, boxes are in pixels of a picture of height 360. Planning reads only file names,
because there are 153,000 files; :func:`read_annotation` runs in the ingest stage.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from deepfakemnist.errors import ConfigError, Failed
from deepfakemnist.ids import check_id, same_file_name
from deepfakemnist.sources.library import VideoLibrary
from deepfakemnist.sources.sheets import Sheet, refusal

FRAME_RATE = 25.0
REFERENCE_HEIGHT = 360.0
_HEADER_LINES = 6
#: Frames of 11 days; what is larger, infinite or no number is a mistake.
_LARGEST = 1e6 * FRAME_RATE
_COLUMNS = ("FRAME", "X", "Y", "W", "H")


@dataclass(frozen=True)
class Annotation:
    """The annotation of one utterance."""

    start_s: float  # first frame / 25
    end_s: float  # (last frame + 1) / 25
    boxes: list[list[float]]  # time in seconds; left, top, width, height in a picture of height 360


def read_voxceleb1(txt: Path, videos: Path) -> Sheet:
    """Return a row for every utterance, named person#video#utterance; ingest reports missing videos.

    Args:
        txt: folder with <person>/<video>/<utterance>.txt.
        videos: folder with the full videos, named <video>.<suffix>, at any depth.

    Raises: ConfigError when a folder is missing or holds no annotation. A name that cannot be an id is a refused row.
    """
    if not txt.is_dir():
        raise ConfigError(f"sources.voxceleb1.txt: {str(txt)!r} is not a folder")
    library = VideoLibrary(videos, "sources.voxceleb1.videos")
    sheet = Sheet(left_aside=library.left_aside, person_rule="folder of the annotation")
    first: dict[str, str] = {}
    for path in sorted(txt.glob("*/*/*.txt")):
        person, video, utterance = *path.relative_to(txt).parts[:2], path.stem
        try:
            video_id = check_id(f"{person}#{video}#{utterance}")
            if (other := first.setdefault(same_file_name(video_id), video_id)) != video_id:
                raise ValueError(f"{video_id} and {other} differ in case alone: one file on macOS and Windows")
        except ValueError as error:
            sheet.refused.append(refusal(path.relative_to(txt).as_posix(), str(error)))
            continue
        sheet.rows.append(
            {
                "video_id": video_id,
                "person_id": person,
                "role": "source",
                "action": "",
                "path": str(library.path_of(video, person)),
                "start_s": None,
                "end_s": None,
                "licence": None,
                "adapter": "voxceleb1",
                "annotation": str(path),
                "reference_width": None,
                "reference_height": REFERENCE_HEIGHT,
            }
        )
    if not sheet.rows:
        raise ConfigError(f"sources.voxceleb1.txt: no <person>/<video>/<utterance>.txt below {str(txt)!r}")
    return sheet


def read_annotation(path: Path | str) -> Annotation:
    """Read one utterance. Raises: Failed with reason bad_annotation, file and line."""
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()[_HEADER_LINES:]
        rows = list(csv.reader(lines, delimiter="\t"))
        columns = [name.strip() for name in rows[0]]
        places = [columns.index(name) for name in _COLUMNS]
    except (OSError, UnicodeDecodeError, IndexError, ValueError, csv.Error) as error:
        raise Failed(
            "bad_annotation", f"{path}: no table with columns {list(_COLUMNS)} on line {_HEADER_LINES + 1}: {error}"
        ) from error
    table: list[list[float]] = []
    for number, row in enumerate(rows[1:], start=_HEADER_LINES + 2):
        if not any(cell.strip() for cell in row):
            continue
        try:
            values = [float(row[place]) for place in places]
        except (IndexError, ValueError) as error:
            raise Failed("bad_annotation", f"{path} line {number}: {row}: {error}") from error
        ascends = values[0] >= 0 if not table else values[0] > table[-1][0]
        if not (all(abs(value) < _LARGEST for value in values) and values[3] > 0 and values[4] > 0 and ascends):
            raise Failed(
                "bad_annotation", f"{path} line {number}: {row}: ascending frames from 0 and W, H > 0 are required"
            )
        table.append(values)
    if not table:
        raise Failed("bad_annotation", f"{path}: no box below the header")
    boxes = [[frame / FRAME_RATE, *box] for frame, *box in table]
    return Annotation(boxes[0][0], (table[-1][0] + 1) / FRAME_RATE, boxes)
