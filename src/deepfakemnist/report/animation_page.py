"""Report page on animation quality: medians per action, and the metrics of every fake."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from deepfakemnist.animation_quality.judge import ClipQuality, quality_table
from deepfakemnist.report.pages import Table, write_page
from deepfakemnist.tables.files import read_rows
from deepfakemnist.tables.schemas import OK, Row

_INTRO = (
    "Transfer: amplitude of the action in the fake divided by that in its driver, along the driver's motion curve; 1 "
    "is full transfer, 0 none. Identity kept: 1 is the source person, 0 an unrelated one; frames of one real clip "
    "reach about 0.7. Sharpness: variance of the Laplacian of the face divided by that of the source frame. Tearing: "
    "instability of the face's outline in the worst frame, percent of the eye distance; real clips and clean fakes are "
    "below 2, most torn fakes above. Measured with facial landmarks and a face-embedding network, before compression. "
    "A dash: not measurable, for example because the driver's own landmarks show no such motion."
)
_METRICS = ("transfer", "correlation", "direction", "identity_kept", "sharpness_ratio", "tearing", "face_share")
_TITLES = ("transfer", "correlation", "direction", "identity kept", "sharpness ratio", "tearing", "frames with a face")
#: Maximum number of fakes listed on the page; the tables below results/judge hold all.
_MAX_FAKES = 2000


def write_animation_page(tables: Sequence[Path], path: Path) -> None:
    """Write the page from ANIMATION_QUALITY tables."""
    rows = [row for row in read_rows(tables) if row["status"] == OK]
    summary = quality_table(ClipQuality(action=row["action"], **{name: row[name] for name in _METRICS}) for row in rows)
    by_action = Table(
        "Medians by action",
        ("action", "fakes", *_TITLES, "fakes with transfer"),
        [
            (row["action"], row["clips"], *(_number(row[name]) for name in _METRICS), row["transfer_n"])
            for row in summary
        ],
    )
    shown: list[Row] = sorted(rows, key=lambda row: row["video_id"])[:_MAX_FAKES]
    every = Table(
        f"Individual fakes ({len(shown)} of {len(rows)})",
        ("video", "action", *_TITLES),
        [(row["video_id"], row["action"], *(_number(row[name]) for name in _METRICS)) for row in shown],
    )
    write_page(path, "Animation quality", _INTRO, [by_action, every])


def _number(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.2f}"
