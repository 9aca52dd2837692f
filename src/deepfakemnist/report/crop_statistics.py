"""Statistics of face crops as histograms, percentiles and lists, with sources and drivers apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np

from deepfakemnist.report.charts import COLOURS, ROWS
from deepfakemnist.report.parts import Chart, Table
from deepfakemnist.report.units import counted
from deepfakemnist.tables.schemas import Row

#: Columns of CROPPED and their labels.
_CROP_COLUMNS = {
    "face_px": "face side, px",
    "frames": "frames",
    "sharpness": "sharpness",
    "brightness": "brightness",
    "face_motion": "face motion, % of face side",
    "face_score": "detection score",
    "face_fraction": "face detection rate",
    "other_faces": "frames with another face, share",
    "interpolated": "interpolated boxes, share",
    "yaw_range": "yaw range, degrees",
    "pitch_range": "pitch range, degrees",
    "roll_range": "roll range, degrees",
    "padded": "padded area, share",
}
#: Columns of the first and the second list of crops; one table with all would not fit a page.
_PICTURE = ("face_px", "frames", "sharpness", "brightness", "face_motion", "padded")
_FACE = ("face_score", "face_fraction", "other_faces", "interpolated", "yaw_range", "pitch_range", "roll_range")
_TEXTS = {"person_id": "person", "role": "kind"}
_ROLES = ("source", "driver")
_BINS = 16
_PERCENTILES = (0, 5, 50, 95, 100)


def crop_chart(crops: Sequence[Row]) -> Chart | None:
    """Return a small histogram of every quantity that varies; None where none does.

    Args:
        crops: usable rows of CROPPED.
    """
    rows: list[dict[str, Any]] = []
    for column, label in _CROP_COLUMNS.items():
        values = _values(crops, column)
        edges = np.histogram_bin_edges([value for of in values.values() for value in of] or [0.0], _BINS)
        if edges[0] == edges[-1] or len({value for of in values.values() for value in of}) < 2:
            continue
        for role, of in values.items():
            counts, _ = np.histogram(of, edges)
            rows += [
                {"quantity": label, "kind": role, "value": float(f"{low:.4g}"), "value_end": float(f"{high:.4g}"),
                 "crops": int(count), "share": round(100 * count / len(of), 1)}
                for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
                if count
            ]  # fmt: skip
    if not rows:
        return None
    drawn = [label for label in _CROP_COLUMNS.values() if any(row["quantity"] == label for row in rows)]
    bars = (
        alt.Chart(ROWS)
        .mark_bar(opacity=0.6)
        .encode(
            x=alt.X(
                "value:Q",
                bin="binned",
                title=None,
                axis=alt.Axis(tickCount=3, labelOverlap=True),
                scale=alt.Scale(zero=False),
            ),
            x2="value_end:Q",
            y=alt.Y("share:Q", title=None, stack=None, axis=alt.Axis(tickCount=3)),
            color=alt.Color(
                "kind:N",
                title=None,
                scale=alt.Scale(domain=_ROLES, range=[COLOURS[0], COLOURS[1]]),
                legend=alt.Legend(orient="top"),
            ),
            tooltip=["kind:N", "value:Q", "value_end:Q", "crops:Q", "share:Q"],
        )
        .properties(width=130, height=80)
        .facet(facet=alt.Facet("quantity:N", sort=drawn, title=None), columns=5)
        .resolve_scale(x="independent", y="independent")
    )
    numbers = {role: sum(row["role"] == role for row in crops) for role in _ROLES}
    people = len({row["person_id"] for row in crops})
    return Chart(
        "Crop statistics",
        bars,
        rows,
        f"Histograms of {len(drawn)} statistics of face crops, of sources and of drivers.",
        f"{counted(numbers['source'], 'source')} and {counted(numbers['driver'], 'driver')} of "
        f"{counted(people, 'person', 'people')}. Height: percent of the sources, or of the drivers. "
        "Left out: what is the same in all crops.",
    )


def crop_percentiles(crops: Sequence[Row]) -> Table:
    """Return percentiles of every quantity, of sources and of drivers."""
    rows = [
        [_CROP_COLUMNS[column], role, *(_short(value) for value in np.percentile(of, _PERCENTILES))]
        for column in _CROP_COLUMNS
        for role, of in _values(crops, column).items()
    ]
    columns = ("quantity", "kind", "minimum", "5 %", "median", "95 %", "maximum")
    return Table("Percentiles of the crop statistics", columns, rows)


def crop_tables(crops: Sequence[Row]) -> list[Table]:
    """Return the values of every crop, in two tables."""
    tables = []
    lists = (("pictures", ("person_id", "role"), _PICTURE), ("faces", ("role",), _FACE))
    for what, texts, names in lists:
        rows = [
            [row["video_id"], *(row[name] for name in texts), *(_short(row[name]) for name in names)] for row in crops
        ]
        titles = ("video", *(_TEXTS[name] for name in texts), *(_CROP_COLUMNS[name] for name in names))
        tables.append(Table(f"Individual crops: {what}", titles, rows))
    return tables


def _values(crops: Sequence[Row], column: str) -> dict[str, list[float]]:
    """Return the known values of a column by role, of roles that have any."""
    found = {role: [row[column] for row in crops if row["role"] == role and row[column] is not None] for role in _ROLES}
    return {role: of for role, of in found.items() if of}


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
