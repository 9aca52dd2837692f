"""Charts of the page on animation quality: fakes by action and animator, as points, or as boxes where they are many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import altair as alt
import numpy as np

from deepfakemnist.config.base import ACTIONS
from deepfakemnist.report.charts import COLOURS, GUIDE, ROWS
from deepfakemnist.report.parts import Chart
from deepfakemnist.report.units import counted
from deepfakemnist.tables.schemas import Row

#: More fakes than these overlap too much as points.
_MAX_POINTS = 600
_PERCENTILES = {"p5": 5, "p25": 25, "median": 50, "p75": 75, "p95": 95}


class Metric(NamedTuple):
    """A metric of ANIMATION_QUALITY and how it is drawn."""

    column: str
    title: str
    axis: str
    #: Value to compare with, and what it means.
    guide: float
    meaning: str


METRICS = (
    Metric("transfer", "Transfer", "amplitude ÷ the driver's", 1, "the driver's amplitude"),
    Metric("identity_kept", "Identity kept", "identity kept", 0.7, "about what frames of one real clip reach"),
    Metric("sharpness_ratio", "Sharpness", "sharpness ÷ the source's", 1, "the source's sharpness"),
    Metric("tearing", "Tearing", "tearing, % of the eye distance", 2, "more than real clips and clean fakes reach"),
)


def metric_chart(rows: Sequence[Row], metric: Metric) -> Chart | None:
    """Return a chart of a metric by action, and by animator where there are several; None where nothing was measured.

    Args:
        rows: rows of ANIMATION_QUALITY.
        metric: what to draw.
    """
    known = [row for row in rows if row[metric.column] is not None and math.isfinite(row[metric.column])]
    if not known:
        return None
    labels = sorted({row.get("animator") or "" for row in known})
    actions = [action for action in ACTIONS if any(row["action"] == action for row in known)]
    is_many = len(known) > _MAX_POINTS
    shown = _boxes(known, metric.column, actions, labels) if is_many else _points(known, metric.column)
    people = {row["person_id"] for row in known if row["person_id"]}
    of_people = f" of {counted(len(people), 'person', 'people')}" if people else ""
    drawn = "Boxes hold the middle half, lines 90 %." if is_many else "A point is a fake, a bar the median."
    median = float(np.median([row[metric.column] for row in known]))
    return Chart(
        f"{metric.title} by action",
        _drawing(metric, actions, labels, is_many).properties(height=len(actions) * (14 * len(labels) + 10)),
        shown,
        f"{metric.title} of fakes by action{' and animator' if len(labels) > 1 else ''}; the median of all is "
        f"{median:.2f}, {metric.guide:g} is {metric.meaning}.",
        f"{counted(len(known), 'fake')}{of_people}. {drawn} Dashed: {metric.guide:g}, {metric.meaning}.",
        file=metric.column,
    )


def _points(rows: Sequence[Row], column: str) -> list[dict[str, Any]]:
    return [
        {"action": row["action"], "animator": row.get("animator") or "", "video": row["video_id"],
         column: round(row[column], 4)}
        for row in sorted(rows, key=lambda row: row["video_id"])
    ]  # fmt: skip


def _boxes(rows: Sequence[Row], column: str, actions: Sequence[str], labels: Sequence[str]) -> list[dict[str, Any]]:
    boxes = []
    for action in actions:
        for label in labels:
            of = [row[column] for row in rows if (row["action"], row.get("animator") or "") == (action, label)]
            if of:
                values = np.round(np.percentile(of, list(_PERCENTILES.values())), 4)
                boxes.append(
                    {"action": action, "animator": label, "fakes": len(of)}
                    | dict(zip(_PERCENTILES, values.tolist(), strict=True))
                )
    return boxes


def _drawing(metric: Metric, actions: Sequence[str], labels: Sequence[str], is_many: bool) -> alt.LayerChart:
    base = alt.Chart(ROWS).encode(y=alt.Y("action:N", sort=list(actions), title=None))
    if len(labels) > 1:
        base = base.encode(
            yOffset=alt.YOffset("animator:N", sort=labels),
            color=alt.Color("animator:N", sort=labels, title=None, legend=alt.Legend(orient="bottom", columns=2)),
        )
    else:
        base = base.encode(color=alt.value(COLOURS[0]))
    guide = (
        alt.Chart(alt.Data(values=[{}]))
        .mark_rule(color=GUIDE, strokeDash=[5, 4], strokeWidth=2)
        .encode(x=alt.datum(metric.guide))
    )
    scale = alt.Scale(zero=metric.column != "identity_kept")
    if is_many:
        tips = ["action:N", "animator:N", "fakes:Q", *(f"{name}:Q" for name in _PERCENTILES)]
        lines = base.mark_rule().encode(x=alt.X("p5:Q", title=metric.axis, scale=scale), x2="p95:Q")
        boxes = base.mark_bar(size=9).encode(x=alt.X("p25:Q", scale=scale), x2="p75:Q", tooltip=tips)
        middle = base.mark_tick(thickness=2, size=9).encode(x="median:Q", color=alt.value("#ffffff"))
        return guide + lines + boxes + middle
    value = f"{metric.column}:Q"
    points = base.mark_point(filled=True, size=45, opacity=0.8).encode(
        x=alt.X(value, title=metric.axis, scale=scale), tooltip=["video:N", "action:N", "animator:N", value]
    )
    middle = base.mark_tick(thickness=3, size=14).encode(x=alt.X(f"median({metric.column}):Q"))
    return guide + points + middle
