"""Report page on animation quality: medians per action, self-reenactment, and the metrics of every fake."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from deepfakemnist.animation_quality.judge import ALL_ACTIONS, ClipQuality, quality_table
from deepfakemnist.config.base import ACTIONS
from deepfakemnist.report.pages import write_page
from deepfakemnist.report.parts import Table
from deepfakemnist.tables.files import read_rows
from deepfakemnist.tables.schemas import OK, Row

_INTRO = (
    "Transfer: amplitude of the action in the fake divided by that in its driver, along the driver's motion curve; 1 "
    "is full transfer, 0 none. Identity kept: 1 is the source person, 0 an unrelated one; frames of one real clip "
    "reach about 0.7. Sharpness: variance of the Laplacian of the face divided by that of the source frame. Tearing: "
    "instability of the face's outline in the worst frame, percent of the eye distance; real clips and clean fakes are "
    "below 2, most torn fakes above. Measured with facial landmarks and a face-embedding network, before compression. "
    "A dash: not measurable, for example because the driver's own landmarks show no such motion. "
    "Self-reenactment: every driver animated by itself from its first frame, against the clip. L1: mean absolute "
    "difference in levels of 255; AKD: average distance of landmarks, percent of the eye distance; AED: average "
    "distance of face embeddings, of which 0.6 tells people apart; LPIPS (AlexNet) where reenact.lpips names its "
    "weights. FID and FVD are not measured: with as few clips as a run has drivers, they depend on their number."
)
_METRICS = ("transfer", "correlation", "direction", "identity_kept", "sharpness_ratio", "tearing", "face_share")
_TITLES = ("transfer", "correlation", "direction", "identity kept", "sharpness ratio", "tearing", "frames with a face")
#: Columns of REENACTED and the factor of the unit in which they are shown.
_REENACTED = {"l1": 255.0, "akd": 100.0, "aed": 1.0, "lpips": 1.0, "sharpness_ratio": 1.0}
#: Maximum number of fakes listed on the page; the tables below results/judge hold all.
_MAX_FAKES = 2000


def write_animation_page(tables: Sequence[Path], reenacted: Sequence[Path], path: Path) -> None:
    """Write the page from ANIMATION_QUALITY tables of the fakes and REENACTED tables of the drivers."""
    rows = [row for row in read_rows(tables) if row["status"] == OK]
    made, drivers = _by_animator(rows), _by_animator(read_rows(reenacted))
    shown: list[Row] = sorted(rows, key=lambda row: row["video_id"])[:_MAX_FAKES]
    several = len(made) > 1
    every = Table(
        f"Individual fakes ({len(shown)} of {len(rows)})",
        ("video", *(["animator"] if several else []), "action", *_TITLES),
        [
            (
                row["video_id"],
                *([row["animator"]] if several else []),
                row["action"],
                *(_number(row[name]) for name in _METRICS),
            )
            for row in shown
        ],
    )
    write_page(
        path,
        "Animation quality",
        _INTRO,
        [
            *(_medians(mine, label if several else "") for label, mine in made.items()),
            *(_reenactment(mine, label if len(drivers) > 1 else "") for label, mine in drivers.items()),
            every,
        ],
    )


def _by_animator(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return label → rows; one empty label without rows, so that the tables are there."""
    labels = sorted({row.get("animator") or "" for row in rows}) or [""]
    return {label: [row for row in rows if (row.get("animator") or "") == label] for label in labels}


def _medians(rows: Sequence[Row], label: str) -> Table:
    """Return medians of the fakes by action; a label names their animator in the title."""
    summary = quality_table(ClipQuality(action=row["action"], **{name: row[name] for name in _METRICS}) for row in rows)
    return Table(
        f"Medians by action{f', {label}' if label else ''}",
        ("action", "fakes", *_TITLES, "fakes with transfer"),
        [
            (row["action"], row["clips"], *(_number(row[name]) for name in _METRICS), row["transfer_n"])
            for row in summary
        ],
    )


def _reenactment(rows: Sequence[Row], label: str) -> Table:
    """Return medians of the self-reenactment by action; a label names the animator in the title."""
    actions = [
        *dict.fromkeys(action for action in ACTIONS if any(row["action"] == action for row in rows)),
        ALL_ACTIONS,
    ]
    shown = []
    for action in actions:
        of = [row for row in rows if action in (row["action"], ALL_ACTIONS)]
        made = [row for row in of if row["status"] == OK]
        cells = [(scale, _median(row[name] for row in made)) for name, scale in _REENACTED.items()]
        shown.append((action, len(made), len(of) - len(made), *(_number(value * scale) for scale, value in cells)))
    columns = ("action", "drivers", "refused", "L1, levels", "AKD %", "AED", "LPIPS", "sharpness ratio")
    return Table(f"Self-reenactment: medians by action{f', {label}' if label else ''}", columns, shown)


def _median(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return statistics.median(known) if known else math.nan


def _number(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.2f}"
