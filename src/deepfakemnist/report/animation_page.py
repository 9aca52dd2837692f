"""The report's page on animations: medians per action, and every fake."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from deepfakemnist.animation_quality.judge import JudgedClip, judge_table
from deepfakemnist.report.pages import Table, write_page
from deepfakemnist.tables.files import read_rows
from deepfakemnist.tables.schemas import OK, Row

_INTRO = (
    "Transfer: amplitude of the action in the fake ÷ in its driver, along the driver's own curve; 1 is all of it, 0 "
    "none. Identity kept: 1 is the source person, 0 nobody in particular; frames of one real clip reach about 0.65. "
    "Sharpness: variance of the Laplacian of the face ÷ that of the source frame. All measured by facial landmarks and "
    "an embedding network, in the animation before compression. A dash: nothing could be measured, for example because "
    "the driver itself shows no such motion to the landmarks."
)
_METRICS = ("transfer", "correlation", "direction", "identity_kept", "sharpness_ratio", "face_share")
_TITLES = ("transfer", "correlation", "direction", "identity kept", "sharpness ÷ source", "frames with a face")
#: The page lists single fakes up to here; all of them are in the tables below results/judge.
_MAX_FAKES = 2000


def write_animation_page(tables: Sequence[Path], path: Path) -> None:
    """Write the page from ANIMATION_QUALITY tables."""
    rows = [row for row in read_rows(tables) if row["status"] == OK]
    summary = judge_table(JudgedClip(action=row["action"], **{name: row[name] for name in _METRICS}) for row in rows)
    by_action = Table(
        "Medians per action",
        ("action", "fakes", *_TITLES, "fakes with a transfer"),
        [
            (row["action"], row["clips"], *(_number(row[name]) for name in _METRICS), row["transfer_n"])
            for row in summary
        ],
    )
    shown: list[Row] = sorted(rows, key=lambda row: row["video_id"])[:_MAX_FAKES]
    every = Table(
        f"Fakes, {len(shown)} of {len(rows)}",
        ("video", "action", *_TITLES),
        [(row["video_id"], row["action"], *(_number(row[name]) for name in _METRICS)) for row in shown],
    )
    write_page(path, "Animations", _INTRO, [by_action, every])


def _number(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.2f}"
