"""Charts of detectors' test metrics: within each quality beside the paper's, and across qualities as heat maps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import altair as alt

from deepfakemnist.config.training_sets import TrainingSet, parse_training_set
from deepfakemnist.report.charts import GUIDE, ROWS, choice, percent_colour, readable_on_percent_colour, tooltips
from deepfakemnist.report.measurement_cells import Cells, Percent, over_seeds, percent
from deepfakemnist.report.paper import paper_accuracy
from deepfakemnist.report.parts import Chart
from deepfakemnist.report.rounding import TOO_FEW, USUAL, decimals

Rows = list[dict[str, Any]]
_METRICS = {"balanced_accuracy": "balanced accuracy, frames", "auc": "AUC, videos"}


def accuracy_chart(measurements: Sequence[Sequence[Cells]]) -> list[Chart]:
    """Return a chart of balanced accuracies within each quality, beside the paper's; none without measurements.

    Args:
        measurements: rows of each measurement on test by frame, one per seed, with mean and sd.
    """
    rows: Rows = []
    for found in measurements:
        row = over_seeds(found)
        if row is None or not is_plain(row["trained_on"]) or row["trained_on"] != row["tested_on"]:
            continue
        paper = paper_accuracy(row["detector"], row["trained_on"], row["tested_on"])
        rows.append(
            {
                "detector": row["detector"],
                "quality": row["tested_on"],
                **figures("balanced accuracy %", percent(found, "balanced_accuracy")),
                "paper %": None if paper is None else number(paper),
                **counts(row),
            }
        )
    rows = [row for row in rows if row["balanced accuracy %"] is not None]
    if not rows:
        return []
    qualities = list(dict.fromkeys(row["quality"] for row in rows))
    base = alt.Chart(ROWS).encode(
        y=alt.Y("detector:N", title=None),
        yOffset=alt.YOffset("quality:N", sort=qualities),
        color=alt.Color("quality:N", sort=qualities, title="trained and tested on", legend=alt.Legend(orient="bottom")),
        tooltip=tooltips(rows),
    )
    drawing = alt.layer(
        alt.Chart(ROWS).mark_rule(color=GUIDE, strokeDash=[4, 4]).encode(x=alt.datum(50)),
        base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q"), x2="high:Q"),
        base.mark_point(filled=True, size=70, opacity=1).encode(
            x=alt.X("balanced accuracy %:Q", title="balanced accuracy, %", scale=alt.Scale(zero=False))
        ),
        base.mark_point(shape="diamond", size=90, strokeWidth=2, opacity=1).encode(x="paper %:Q"),
    ).properties(height=(14 * len(qualities) + 14) * len({row["detector"] for row in rows}))
    best = max(rows, key=lambda row: row["balanced accuracy %"])
    caption = (
        f"Filled points: this run, {sizes_of(rows)} of test, with the 95 % interval where there is one; open "
        "diamonds: the paper's accuracy on its own videos. Dashed: guessing; an interval that crosses it includes "
        "chance."
    )
    alt_text = (
        f"Balanced accuracy by detector and quality; the highest is {best['balanced accuracy %']:.0f} % of "
        f"{best['detector']} on {best['quality']}."
    )
    return [Chart("Balanced accuracy at each quality, beside the paper's", drawing, rows, alt_text, caption)]


def cross_quality_chart(frames: Sequence[Sequence[Cells]], videos: Sequence[Sequence[Cells]]) -> list[Chart]:
    """Return a heat map of every training quality on every test quality; none without measurements.

    Args:
        frames, videos: rows of each measurement on test at that level, one per seed, with mean and sd.
    """
    rows: Rows = []
    for (name, what), measurements in zip(_METRICS.items(), (frames, videos), strict=True):
        for found in measurements:
            row = over_seeds(found)
            if row is None or not is_plain(row["trained_on"]):
                continue
            paper = paper_accuracy(row["detector"], row["trained_on"], row["tested_on"]) if name != "auc" else None
            figure = percent(found, name)
            rows.append(
                {
                    "detector": row["detector"],
                    "trained on": row["trained_on"],
                    "tested on": row["tested_on"],
                    "metric": what,
                    **figures("%", figure),
                    "shown": shown(figure, row),
                    "paper %": None if paper is None else number(paper),
                    **counts(row),
                }
            )
    rows = [row for row in rows if row["%"] is not None]
    if not rows:
        return []
    metric, trained, tested = (
        list(dict.fromkeys(row[name] for row in rows)) for name in ("metric", "trained on", "tested on")
    )
    chosen = choice("metric", metric, "Metric")
    order = [f"{detector}, {one}" for detector in dict.fromkeys(row["detector"] for row in rows) for one in trained]
    base = (
        alt.Chart(ROWS)
        .transform_filter(alt.datum.metric == chosen)
        .transform_calculate(row="datum.detector + ', ' + datum['trained on']")
        .encode(
            x=alt.X("tested on:N", sort=tested, axis=alt.Axis(orient="top", labelAngle=0)),
            y=alt.Y("row:N", sort=order, title="detector, trained on"),
            tooltip=tooltips(rows),
        )
    )
    drawing = heat_map(base, "%", "%").add_params(chosen).properties(height=24 * len(order))
    caption = (
        f"{sizes_of(rows)} of test. Blue: above 50 %, which is guessing; red: below. Away from the quality of "
        "training, a detector shows what it learnt of the encoder. Hover or open the data for intervals and the "
        "paper's figures."
    )
    alt_text = f"Heat map of {' and '.join(metric)} for {len(order)} trained detectors on {', '.join(tested)}."
    return [
        Chart("Across qualities: trained on one, tested on another", drawing, rows, alt_text, caption, "cross_quality")
    ]


def heat_map(base: alt.Chart, field: str, title: str) -> Any:
    """Return cells in the colours of percentages with the text of the column ``shown``, of a chart with x and y."""
    colour = percent_colour(field, title).legend(orient="bottom", gradientLength=160)
    cells = base.mark_rect(stroke="#88888855").encode(color=colour)
    return alt.layer(cells, base.mark_text(fontSize=12).encode(text="shown:N", color=readable_on_percent_colour(field)))


def figures(name: str, figure: Percent) -> dict[str, float | None]:
    """Return value and interval, percent, as columns of a chart: enough digits to be plotted."""
    values = {name: figure.value, "low": figure.low, "high": figure.high, "sd over seeds": figure.sd}
    return {what: None if value is None else round(value, 2) for what, value in values.items()}


def shown(figure: Percent, row: Cells) -> str:
    """Return a metric as the text of a cell of a heat map: rounded by its interval, which stands elsewhere."""
    if figure.value is None:
        return "–"
    few = "too few" in row["generalises_to"]
    return f"{figure.value:.{decimals(figure.low, figure.high, TOO_FEW if few else USUAL)}f}"


def counts(row: Cells) -> dict[str, int | None]:
    """Return the numbers of videos and people of a measurement."""
    return {
        what: int(row[name]) if row[name] else None for name, what in (("n_videos", "videos"), ("n_people", "people"))
    }


def sizes_of(rows: Iterable[dict[str, Any]]) -> str:
    """Return ``7 videos of 2 people`` for rows of a chart; ranges where they differ."""
    kept = list(rows)
    videos, people = (sorted({row[what] for row in kept if row[what] is not None}) for what in ("videos", "people"))
    texts = ["–".join(map(str, dict.fromkeys((found[0], found[-1])))) if found else "?" for found in (videos, people)]
    return f"{texts[0]} videos of {texts[1]} people"


def number(text: str) -> float:
    """Return a figure of the paper as a number."""
    return float(text.removeprefix("≈"))


def is_plain(trained_on: str) -> bool:
    """Say whether a training set is a quality or all of them, without restriction."""
    return parse_training_set(trained_on) == TrainingSet(trained_on)
