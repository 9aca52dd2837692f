"""Report page on animation quality: metrics by action, self-reenactment, and the metrics of every fake."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from deepfakemnist.animation_quality.judge import ALL_ACTIONS, ClipQuality, quality_table
from deepfakemnist.config.base import ACTIONS
from deepfakemnist.report.animation_charts import METRICS, metric_chart
from deepfakemnist.report.pages import write_page
from deepfakemnist.report.parts import Lead, Part, Table
from deepfakemnist.report.units import number
from deepfakemnist.tables.files import read_rows
from deepfakemnist.tables.schemas import OK, Row

_LEAD = Lead(
    "How well the animations carry over the driver's action and keep the source's face: all fakes, accepted by "
    "liveness or not, before compression.",
    "Transfer: amplitude of the action divided by the driver's, 1 is full transfer, 0 none. Identity kept: 1 is the "
    "source person, 0 an unrelated one. Sharpness: variance of the Laplacian of the face divided by that of the source "
    "frame. Tearing: instability of the face's outline in the worst frame. A dash: not measurable, for example because "
    "the driver's own landmarks show no such motion.",
    "They come from facial landmarks and a face-embedding network, not from people: a fake with good figures may look "
    "false.",
)
_REENACTMENT = (
    "Every driver animated by itself from its first frame, against the clip: medians. L1: mean absolute difference, in "
    "levels of 255. AKD: average distance of landmarks, percent of the eye distance. AED: average distance of face "
    "embeddings; 0.6 is the usual limit between one person and two. LPIPS (AlexNet): where reenact.lpips names its "
    "weights. FID and FVD depend on the number of clips where they are this few, and are not measured."
)
_MEDIANS = {
    "transfer": "transfer",
    "correlation": "correlation",
    "identity_kept": "identity",
    "sharpness_ratio": "sharpness",
    "tearing": "tearing, %",
    "face_share": "face seen",
}
_OF_FAKES = {
    "transfer": "transfer",
    "correlation": "correlation",
    "direction": "direction",
    "identity_kept": "identity",
    "sharpness_ratio": "sharpness",
    "tearing": "tearing, %",
}
_JUDGED = {**_MEDIANS, **_OF_FAKES}
#: Columns of REENACTED and the factor of the unit in which they are shown.
_REENACTED = {"l1": 255.0, "akd": 100.0, "aed": 1.0, "lpips": 1.0, "sharpness_ratio": 1.0}
_REENACTED_TITLES = ("L1, levels", "AKD, %", "AED", "LPIPS", "sharpness ratio")


def write_animation_page(
    tables: Sequence[Path], reenacted: Sequence[Path], path: Path, notices: Sequence[str] = ()
) -> None:
    """Write the page.

    Args:
        tables: ANIMATION_QUALITY tables of the fakes.
        reenacted: REENACTED tables of the drivers.
        path: HTML file to write.
        notices: see :func:`deepfakemnist.report.pages.write_page`.
    """
    rows = [row for row in read_rows(tables) if row["status"] == OK]
    parts: list[Part | None] = [
        *(metric_chart(rows, metric) for metric in METRICS),
        _medians(rows),
        _reenactment(read_rows(reenacted)),
        _fakes(rows),
    ]
    write_page(path, "Animation quality", _LEAD, [part for part in parts if part is not None], notices)


def _by_animator(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return label → rows. Rows that failed before their animator was known are the only one's, if there is one."""
    known = sorted({row["animator"] for row in rows if row.get("animator")})
    only = known[0] if len(known) == 1 else ""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.get("animator") or only, []).append(row)
    return dict(sorted(groups.items()))


def _medians(rows: Sequence[Row]) -> Table:
    """Return medians of the fakes by action, and by animator where there are several."""
    groups = _by_animator(rows)
    is_named = len(groups) > 1
    lines = []
    for label, mine in groups.items():
        of = (ClipQuality(action=row["action"], **{name: row[name] for name in _JUDGED}) for row in mine)
        for row in quality_table(of):
            cells = [number(row[name]) for name in _MEDIANS]
            lines.append([*([label] if is_named else []), row["action"], row["clips"], *cells])
    columns = (*(["animator"] if is_named else []), "action", "fakes", *_MEDIANS.values())
    note = (
        "Correlation: of the fake's signals with the driver's, -1 to 1. Tearing: percent of the eye distance. "
        "Face seen: share of frames."
    )
    return Table("Medians by action", columns, lines, note)


def _fakes(rows: Sequence[Row]) -> Table:
    is_named = len({row.get("animator") for row in rows}) > 1
    lines = [
        [
            row["video_id"],
            *([row["animator"]] if is_named else []),
            row["action"],
            *(number(row[name]) for name in _OF_FAKES),
        ]
        for row in sorted(rows, key=lambda row: row["video_id"])
    ]
    columns = ("video", *(["animator"] if is_named else []), "action", *_OF_FAKES.values())
    note = "Sort by a column for the best and the worst. Direction: alignment of the motion with the action's, -1 to 1."
    return Table("Individual fakes", columns, lines, note)


def _reenactment(rows: Sequence[Row]) -> Table:
    """Return medians of the self-reenactment by action, and by animator where there are several."""
    groups = _by_animator(rows)
    is_named = len(groups) > 1
    lines = []
    for label, mine in groups.items():
        actions = [action for action in ACTIONS if any(row["action"] == action for row in mine)]
        for action in (*actions, ALL_ACTIONS):
            of = [row for row in mine if action in (row["action"], ALL_ACTIONS)]
            made = [row for row in of if row["status"] == OK]
            cells = [number(scale * _median(row[name] for row in made)) for name, scale in _REENACTED.items()]
            lines.append([*([label] if is_named else []), action, len(made), len(of) - len(made), *cells])
    columns = (*(["animator"] if is_named else []), "action", "drivers", "refused", *_REENACTED_TITLES)
    return Table("Self-reenactment", columns, lines, _REENACTMENT)


def _median(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return statistics.median(known) if known else math.nan
