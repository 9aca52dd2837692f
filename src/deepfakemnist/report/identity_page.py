"""Report page of the identity audit: pictures of the clips of every finding, side by side."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from deepfakemnist.dataset.identity_findings import ACCEPTED, LEAK, WARNING, count_findings, leak_message
from deepfakemnist.errors import Failed, Rejected
from deepfakemnist.media.decode import read_clip
from deepfakemnist.report.pages import render, write_page
from deepfakemnist.report.parts import Block, Column, Lead, Part, Picture, Table
from deepfakemnist.report.units import counted
from deepfakemnist.tables.files import read_rows
from deepfakemnist.tables.schemas import OK, Row

_THUMB, _MOMENTS = 88, 3
#: Findings with pictures; a table without names the others.
_MAX_PICTURES = 100
_READING = (
    "Every source was compared with every other by the mean face embedding (dlib) of its clip, where about 0.6 tells "
    "people apart. equal_pixels: equal decoded frames. same_face: two person ids whose clips are at most "
    "dataset.identities.same_face apart. similar_face: at most similar_face, to be looked at. two_faces: one person id "
    "whose clips are further apart than other_face. A leak is in two splits, and stops a release."
)
_LIMITS = (
    "Embeddings are least reliable for relatives and in poor pictures: look at the pictures. If they show one person, "
    "give both the same person_id or exclude one; if they show two, add the pair to dataset.identities.accepted."
)


def write_identity_page(
    findings: Sequence[Row], identities: Sequence[Path], path: Path, notices: Sequence[str] = ()
) -> None:
    """Write the findings of :func:`deepfakemnist.dataset.identity_audit.audit_identities` as a page, leaks first.

    Args:
        findings: rows of the audit, in its order.
        identities: IDENTITIES tables, for the clips to show and the number of clips without a face.
        path: HTML file to write.
        notices: see :func:`deepfakemnist.report.pages.write_page`.
    """
    rows = read_rows(identities)
    clips = {row["video_id"]: row["path"] for row in rows}
    unseen = [row for row in rows if row["status"] != OK]
    has_reasons = any(row["reason"] for row in findings)
    shown: list[list[Any]] = []
    for number, row in enumerate(findings):
        splits = row["split"] if row["split"] == row["other_split"] else f"{row['split']}, {row['other_split']}"
        people = list(dict.fromkeys((row["person_id"], row["other_person_id"])))
        cells = [f"{row['verdict']}: {row['finding']}", " and ".join(people), splits, f"{row['distance']:.2f}"]
        for video in (row["video_id"], row["other_video_id"]):
            cells.append(_picture(video, clips.get(video)) if number < _MAX_PICTURES else video)
        shown.append([*cells, *([row["reason"]] if has_reasons else [])])
    names = ("finding", "people", "splits", "distance", "video", "other video", *(["reason"] if has_reasons else []))
    columns = [Column(name, is_name=name != "distance") for name in names]
    further = Table("Further findings, without pictures", columns, shown[_MAX_PICTURES:])
    verdict = [*_verdict(findings), _compared(rows, unseen)]
    parts: list[Part] = [
        Block("Verdict", render("sentences.html.j2", sentences=verdict)),
        Table("Findings", columns, shown[:_MAX_PICTURES]),
        *([further] if further.rows else []),
        Table(
            "Sources that could not be compared",
            ("video", "person", "reason", "detail"),
            [[row[name] for name in ("video_id", "person_id", "reason", "detail")] for row in unseen],
        ),
    ]
    lead = Lead("Whether a face or a clip is in two splits, or under two person ids.", _READING, _LIMITS)
    write_page(path, "Identities", lead, parts, notices)


def _verdict(findings: Sequence[Row]) -> list[str]:
    """Return what was found: leaks, what is to be looked at, what was accepted."""
    of = {name: [row for row in findings if row["verdict"] == name] for name in (LEAK, WARNING, ACCEPTED)}
    accepted = ", but for accepted pairs" if any(row["split"] != row["other_split"] for row in of[ACCEPTED]) else ""
    nothing = (
        f"No face and no clip of a source is in two splits{accepted}. Drivers are not compared; protocol 6 tells those "
        "seen in training from others."
    )
    sentences = [f"LEAK. {leak_message(of[LEAK])}" if of[LEAK] else nothing]
    if of[WARNING]:
        sentences.append(f"To be looked at: {count_findings(of[WARNING])}.")
    if of[ACCEPTED]:
        sentences.append(f"Accepted in dataset.identities.accepted: {count_findings(of[ACCEPTED])}.")
    return sentences


def _compared(rows: Sequence[Row], unseen: Sequence[Row]) -> str:
    people = len({row["person_id"] for row in rows})
    not_seen = f"; {len(unseen):,} could not be compared" if unseen else ""
    return f"{counted(len(rows), 'source')} of {counted(people, 'person id')}{not_seen}."


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
