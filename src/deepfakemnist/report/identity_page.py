"""Report page of the identity audit: pictures of the clips of every finding, side by side."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from deepfakemnist.dataset.identity_findings import FINDINGS, LEAK, leak_message
from deepfakemnist.errors import Failed, Rejected
from deepfakemnist.media.decode import read_clip
from deepfakemnist.report.pages import write_page
from deepfakemnist.report.parts import Picture, Table
from deepfakemnist.tables.files import read_rows
from deepfakemnist.tables.schemas import OK, Row

_THUMB, _MOMENTS = 88, 3
#: Findings with pictures; the table names the others.
_MAX_PICTURES = 100
_MAX_ROWS = 2000
_INTRO = (
    "Every source was compared with every other by the mean face embedding (dlib) of its clip. equal_pixels: equal "
    "decoded frames. same_face: two person ids at a distance of dataset.identities.same_face at most; similar_face: at "
    "most similar_face, to be looked at; two_faces: one person id whose clips are further apart than other_face. A "
    "leak is in two splits, and stops a release. If the pictures show one person, give both the same person_id or "
    "exclude one; if they show two people, add the pair to dataset.identities.accepted."
)


def write_identity_page(findings: Sequence[Row], identities: Sequence[Path], path: Path) -> None:
    """Write the findings of :func:`deepfakemnist.dataset.identity_audit.audit_identities` as a page, leaks first.

    Args:
        findings: rows of the audit, in its order.
        identities: IDENTITIES tables, for the clips to show and the number of clips without a face.
        path: HTML file to write.
    """
    rows = read_rows(identities)
    clips = {row["video_id"]: row["path"] for row in rows}
    unseen = [row for row in rows if row["status"] != OK]
    intro = _INTRO
    if message := leak_message([row for row in findings if row["verdict"] == LEAK]):
        intro = f"LEAK. {message} {intro}"
    if len(findings) > _MAX_PICTURES:
        intro += (
            f" The first {_MAX_PICTURES} of {len(findings)} findings have pictures; audit/identities.tsv holds all."
        )
    columns = ("verdict", "finding", "person", "other person", "splits", "distance", "video", "other video", "reason")
    shown: list[list[Any]] = []
    for number, row in enumerate(findings[:_MAX_ROWS]):
        names = ("verdict", "finding", "person_id", "other_person_id")
        splits = row["split"] if row["split"] == row["other_split"] else f"{row['split']}, {row['other_split']}"
        cells = [*(row[name] for name in names), splits, f"{row['distance']:.2f}"]
        for video in (row["video_id"], row["other_video_id"]):
            cells.append(_picture(video, clips.get(video)) if number < _MAX_PICTURES else video)
        shown.append([*cells, row["reason"]])
    tables = [
        Table(
            "Summary", ("finding", "count"), [(names[1], _count(findings, kind)) for kind, names in FINDINGS.items()]
        ),
        Table("Findings", columns, shown),
        Table(
            "Sources that could not be compared",
            ("video", "person", "reason", "detail"),
            [[row[name] for name in ("video_id", "person_id", "reason", "detail")] for row in unseen[:_MAX_ROWS]],
        ),
    ]
    write_page(path, "Identities", intro, tables)


def _count(findings: Sequence[Row], kind: str) -> int:
    return sum(row["finding"] == kind for row in findings)


def _picture(video: str, path: str | None) -> Picture | str:
    """Return three moments of a clip as one JPEG, or the clip's id if it has no crop or cannot be read."""
    try:
        clip = read_clip(path) if path else None
    except (Failed, Rejected, OSError):
        clip = None
    if clip is None:
        return video
    strip = Image.new("RGB", (_MOMENTS * _THUMB, _THUMB))
    for moment, index in enumerate(np.linspace(0, len(clip) - 1, _MOMENTS).round().astype(int)):
        frame = Image.fromarray(clip[index]).resize((_THUMB, _THUMB), Image.Resampling.LANCZOS)
        strip.paste(frame, (moment * _THUMB, 0))
    data = io.BytesIO()
    strip.save(data, "JPEG", quality=85)
    return Picture(f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}", video)
