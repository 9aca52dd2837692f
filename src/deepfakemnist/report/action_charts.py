"""Charts by action: accuracy on each action's fakes beside the paper's, and training on one action or all but one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from deepfakemnist.config.base import ACTIONS
from deepfakemnist.report.charts import ROWS, choice, tooltips
from deepfakemnist.report.measurement_cells import Cells, Percent
from deepfakemnist.report.metric_charts import counts, figures, heat_map, number, shown, sizes_of
from deepfakemnist.report.paper import ORIGINAL, paper_action_accuracy
from deepfakemnist.report.parts import Chart

#: A measurement as a chart shows it: where it belongs, the metric, and the row of all seeds.
Measured = tuple[dict[str, Any], Percent, Cells]
_REALS = "reals"


def action_chart(measured: Sequence[Measured]) -> list[Chart]:
    """Return a heat map of the accuracy on each action's fakes and on reals, by quality; none without measurements.

    Args:
        measured: of ``detector``, ``quality`` and ``class``, an action or ``reals``.
    """
    own = [
        {**where, "column": where["quality"], **figures("accuracy %", found), "shown": shown(found, row), **counts(row)}
        for where, found, row in measured
        if found.value is not None
    ]
    if not own:
        return []
    qualities = list(dict.fromkeys(row["quality"] for row in own))
    classes = [*ACTIONS, *sorted({row["class"] for row in own} - {*ACTIONS, _REALS}), _REALS]
    rows = [*own, *_of_paper(qualities, classes, own[0])]
    chosen = choice("detector", list(dict.fromkeys(row["detector"] for row in own)), "Detector")
    columns = [name for quality in qualities for name in (quality, f"{quality}, paper")]
    base = (
        alt.Chart(ROWS)
        .transform_filter((alt.datum.detector == chosen) | (alt.datum.detector == "paper"))
        .encode(
            x=alt.X(
                "column:N", sort=columns, title="trained and tested on", axis=alt.Axis(orient="top", labelAngle=-30)
            ),
            y=alt.Y("class:N", sort=classes, title=None),
            tooltip=tooltips(rows),
        )
    )
    drawing = heat_map(base, "accuracy %", "%").add_params(chosen).properties(height=24 * len(classes))
    caption = (
        f"Share of frames classified correctly: {sizes_of(own)} of test per cell, which are the action's fakes and "
        "all reals; blank where no fake was left to test. A detector that calls everything fake has 100 % in all "
        "actions and 0 % in reals, so read them together. The paper's figures are read off its chart, of a model it "
        "does not name."
    )
    worst = min((row for row in own if row["class"] != _REALS), key=lambda row: row["accuracy %"], default=None)
    alt_text = "Heat map of the accuracy on the fakes of each action and on reals, by quality, beside the paper's."
    if worst is not None:
        alt_text += (
            f" The lowest is {worst['accuracy %']:.0f} %: {worst['class']}, {worst['detector']}, {worst['quality']}."
        )
    return [
        Chart("Accuracy on each action's fakes, beside the paper's", drawing, rows, alt_text, caption, "per_action")
    ]


def training_action_charts(measured: Sequence[Measured]) -> list[Chart]:
    """Return a heat map each of training on one action and on all but one, by test action; none without measurements.

    Args:
        measured: of ``kind`` (title), ``detector``, ``tested on`` (quality), ``action`` of training, ``test action``.
    """
    charts = []
    for kind in dict.fromkeys(where["kind"] for where, _, _ in measured):
        rows = [
            {
                **{name: value for name, value in where.items() if name != "kind"},
                **figures("balanced accuracy %", found),
                "shown": f"{found.value:.0f}",  # ten columns have to fit a phone
                **counts(row),
            }
            for where, found, row in measured
            if where["kind"] == kind and found.value is not None
        ]
        if not rows:
            continue
        tested = list(dict.fromkeys(row["test action"] for row in rows))
        chart = alt.Chart(ROWS).encode(
            x=alt.X("test action:N", sort=tested, title="tested on", axis=alt.Axis(orient="top", labelAngle=-60)),
            y=alt.Y("action:N", sort=tested, title=kind),
            tooltip=tooltips(rows),
        )
        menus = []
        for name, column, label in (("detector", "detector", "Detector"), ("quality", "tested on", "Tested on")):
            values = list(dict.fromkeys(row[column] for row in rows))
            if len(values) > 1:
                menus.append(choice(name, values, label))
                chart = chart.transform_filter(alt.datum[column] == menus[-1])
        drawing = heat_map(chart, "balanced accuracy %", "%").add_params(*menus)
        height = 26 * len({row["action"] for row in rows})
        caption = (
            f"{sizes_of(rows)} of test per cell, by frame; each test action against all reals. Blue: above 50 %, "
            "which is guessing; the data have the intervals."
        )
        alt_text = f"Heat map of balanced accuracy, {kind} (rows) by test action (columns), for each detector."
        title = f"4. Cross-action generalisation, {kind}"
        charts.append(Chart(title, drawing.properties(height=height), rows, alt_text, caption))
    return charts


def _of_paper(qualities: Sequence[str], classes: Sequence[str], like: dict[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for quality in qualities:
        for name in classes:
            value = paper_action_accuracy(quality, ORIGINAL if name == _REALS else name)
            if value is not None:
                row = {**dict.fromkeys(like), "detector": "paper", "quality": quality, "class": name}
                row |= {"column": f"{quality}, paper", "accuracy %": number(value), "shown": f"{number(value):.0f}"}
                rows.append(row)
    return rows
