"""Report page on sources and drivers: outcomes, reasons of rejection and crop statistics."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from deepfakemnist.report.crop_statistics import crop_chart, crop_percentiles, crop_tables
from deepfakemnist.report.pages import write_page
from deepfakemnist.report.parts import Column, Lead, Part, Table
from deepfakemnist.report.reason_texts import what_happened
from deepfakemnist.report.units import counted
from deepfakemnist.sources.video_files import REASONS
from deepfakemnist.tables.files import read_rows
from deepfakemnist.tables.schemas import FAILED, OK, REJECTED, Row
from deepfakemnist.tables.tsv import write_tsv

_READING = (
    "Sharpness is the variance of the Laplacian, brightness the mean luma (0 to 255), face motion the "
    "motion within a face, beyond that of a photograph moved before the camera; ranges of yaw, pitch and roll span "
    "the 5th to 95th percentile. Sources and drivers are counted apart."
)
_LIMITS = (
    "Crop statistics describe pictures, not people: they do not say whose face it is, or whether the clip is genuine."
)


def write_source_page(
    ingested: Sequence[str],
    cropped: Sequence[str],
    refused: Sequence[Row],
    path: Path,
    left_aside: Sequence[Row] = (),
    notices: Sequence[str] = (),
) -> None:
    """Write the page.

    Args:
        ingested, cropped: tables of ingest and crop, of sources and drivers.
        refused: ledger rows of videos refused before ingest: invalid lines, excluded and unselected videos.
        path: HTML file to write.
        left_aside: of a searched folder, see :func:`deepfakemnist.sources.video_files.count_left_aside`.
        notices: see :func:`deepfakemnist.report.pages.write_page`.
    """
    ingest_rows, crops = read_rows(ingested), read_rows(cropped)
    usable = sorted((row for row in crops if row["status"] == OK), key=lambda row: row["video_id"])
    out = [
        *(("before ingest", row["kind"], row) for row in refused),
        *(("ingest", row["role"], row) for row in ingest_rows if row["status"] != OK),
        *(("crop", row["role"], row) for row in crops if row["status"] != OK),
    ]
    reasons = Counter((role, stage, row["status"], row["reason"]) for stage, role, row in out)
    parts: list[Part | None] = [
        Table("Outcomes", ("kind", OK, REJECTED, FAILED), _outcomes(usable, [(r, row) for _, r, row in out])),
        crop_chart(usable),
        crop_percentiles(usable),
        Table(
            "Reasons for leaving videos out", ("videos", "kind", "stage: reason", "what happened"), _reasons(reasons)
        ),
        Table(
            "Individual videos left out",
            ("video", "kind", "stage", "reason", "detail"),
            [(row["video_id"], kind, stage, row["reason"], row["detail"]) for stage, kind, row in out],
        ),
        *crop_tables(usable),
        Table(
            "Videos with cuts",
            ("video", Column("kept, s", is_name=True), "dropped frames", "cuts"),
            [_cut_row(row) for row in usable if _has_cuts(row)],
        ),
        Table("Duplicates by pixel hash", (Column("videos", is_name=True), "pixel hash"), _duplicates(usable)),
    ]
    if left_aside:
        parts.append(
            Table(
                "Files left aside in the searched folder",
                ("reason", "suffix", "files", "for example"),
                [(REASONS[row["reason"]], row["suffix"], row["files"], row["example"]) for row in left_aside],
            )
        )
    shows = f"{len(usable):,} of {counted(len(refused) + len(ingest_rows), 'video')} gave a face crop."
    lead = Lead(shows, _READING, _LIMITS)
    write_page(path, "Sources and drivers", lead, [part for part in parts if part is not None], notices)


def write_missing(ingested: Sequence[str], path: Path) -> None:
    """Write a TSV of missing video files, one line per file, with the videos that need it."""
    missing = [row for row in read_rows(ingested) if row["reason"] == "missing_file"]
    by_file: dict[str, list[Row]] = {}
    for row in missing:
        by_file.setdefault(row["path"], []).append(row)
    lines = [
        {
            "path": file,
            "name": Path(file).stem,
            "person_id": rows[0]["person_id"],
            "videos": len(rows),
            "video_ids": " ".join(row["video_id"] for row in rows),
        }
        for file, rows in sorted(by_file.items())
    ]
    write_tsv(path, ("path", "name", "person_id", "videos", "video_ids"), lines)


def _outcomes(usable: Sequence[Row], out: Sequence[tuple[str, Row]]) -> list[tuple[str, int, int, int]]:
    counts = Counter((row["role"], OK) for row in usable) + Counter((role, row["status"]) for role, row in out)
    return [(f"{role}s", *(counts[role, state] for state in (OK, REJECTED, FAILED))) for role in ("source", "driver")]  # type: ignore[misc]


def _reasons(reasons: Counter[tuple[str, str, str, str]]) -> list[tuple[object, ...]]:
    return [
        (count, role, f"{stage}: {reason} ({status})", what_happened(reason))
        for (role, stage, status, reason), count in sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    ]


def _has_cuts(row: Row) -> bool:
    return bool(row["cuts"]) and row["cuts"] != "[]"


def _cut_row(row: Row) -> tuple[str, str, int, str]:
    cuts = ", ".join(f"{cut['what']} at {cut['time_s']:g} s" for cut in json.loads(row["cuts"]))
    return row["video_id"], f"{row['kept_from_s']:.2f} – {row['kept_to_s']:.2f}", row["dropped_frames"], cuts


def _duplicates(rows: Sequence[Row]) -> list[tuple[str, str]]:
    names: dict[str, list[str]] = {}
    for row in rows:
        names.setdefault(row["pixels_sha256"], []).append(row["video_id"])
    return [(", ".join(ids), digest[:12]) for digest, ids in names.items() if len(ids) > 1]
