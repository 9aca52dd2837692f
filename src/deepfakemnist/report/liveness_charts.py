"""Pass rates with intervals for the page on liveness, and its charts: rates by action and provider, and scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
from scipy.stats import binomtest

from deepfakemnist.config.base import ACTIONS
from deepfakemnist.report.charts import COLOURS, GUIDE, ROWS
from deepfakemnist.report.parts import Chart
from deepfakemnist.report.rounding import with_interval
from deepfakemnist.report.units import counted
from deepfakemnist.tables.schemas import OK, Row

ALL = "all"
ALL_PROVIDERS = "all providers"
_BINS = 24
_VERDICTS = ("live", "not live")


def wilson(hits: int, total: int) -> tuple[float, float] | None:
    """Return the 95 % confidence interval of a proportion (Wilson, 1927); None without trials."""
    if not total:
        return None
    interval = binomtest(hits, total).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def live_percent(hits: int, total: int) -> str:
    """Return a share in percent with its Wilson interval, a dash without trials."""
    interval = wilson(hits, total)
    return with_interval(100 * hits / total, 100 * interval[0], 100 * interval[1]) if interval else "–"


def pass_rate_chart(rates: Sequence[Row], people: int | None) -> Chart | None:
    """Return live percent with intervals; None without verdicts.

    Args:
        rates: ``provider``, ``action``, ``live`` and ``verdicts``; provider and action may be ALL_PROVIDERS and ALL.
        people: number of people in the fakes; None: not known.
    """
    rows = []
    # What a single provider accepts is what all accept.
    is_one = len({rate["provider"] for rate in rates}) == 2
    for rate in rates:
        if is_one and rate["provider"] == ALL_PROVIDERS:
            continue
        if interval := wilson(rate["live"], rate["verdicts"]):
            low, high = (round(100 * limit, 1) for limit in interval)
            percent = round(100 * rate["live"] / rate["verdicts"], 1)
            rows.append({"provider": rate["provider"], "action": rate["action"], "live %": percent, "low %": low,
                         "high %": high, "live": rate["live"], "verdicts": rate["verdicts"]})  # fmt: skip
    if not rows:
        return None
    providers = list(dict.fromkeys(row["provider"] for row in rows))
    actions = [action for action in (*ACTIONS, ALL) if any(row["action"] == action for row in rows)]
    base = alt.Chart(ROWS).encode(
        y=alt.Y("action:N", sort=actions, title=None),
        yOffset=alt.YOffset("provider:N", sort=providers),
        color=alt.Color(
            "provider:N", sort=providers, title=None, legend=alt.Legend(orient="bottom", columns=2, labelLimit=160)
        ),
        tooltip=["provider:N", "action:N", "live %:Q", "low %:Q", "high %:Q", "live:Q", "verdicts:Q"],
    )
    scale = alt.Scale(domain=[0, 100])
    drawing = base.mark_rule(strokeWidth=2).encode(
        x=alt.X("low %:Q", title="classified as live, %", axis=alt.Axis(tickCount=5), scale=scale), x2="high %:Q"
    ) + base.mark_point(filled=True, size=45, opacity=1).encode(x=alt.X("live %:Q", scale=scale))
    whole = next(row for row in rows if row["provider"] == providers[-1] and row["action"] == ALL)
    of_people = f" of {counted(people, 'person', 'people')}" if people else ""
    return Chart(
        "Pass rates",
        drawing.properties(height=len(actions) * (7 * len(providers) + 8)),
        rows,
        f"Share of fakes classified as live, by action and provider; {whole['live']} of {whole['verdicts']} fakes "
        f"({whole['live %']:.0f} %) are accepted by {providers[-1]}.",
        f"{counted(whole['verdicts'], 'fake')}{of_people}. Points with 95 % Wilson intervals over clips. Clips of one "
        "person or driver are not independent, so the true intervals are wider.",
        file="pass_rates",
    )


def score_charts(verdicts: Sequence[Row]) -> list[Chart]:
    """Return a histogram of scores per provider that gives scores, live and not live, with its thresholds."""
    shown = [row for row in verdicts if row["status"] == OK and row["score"] is not None]
    return [
        _scores(name, [row for row in shown if row["provider"] == name])
        for name in sorted({row["provider"] for row in shown})
    ]


def _scores(provider: str, verdicts: Sequence[Row]) -> Chart:
    scores = {name: [row["score"] for row in verdicts if row["live"] == (name == "live")] for name in _VERDICTS}
    limits = sorted({row["threshold"] for row in verdicts if row["threshold"] is not None})
    largest = max(1.0, *limits, *(row["score"] for row in verdicts))
    edges = np.linspace(min(0.0, *(row["score"] for row in verdicts)), largest, _BINS + 1)
    # Vega-Lite takes the end of a bin of x from a field named x_end, whatever x2 says.
    rows: list[dict[str, Any]] = []
    for name, values in scores.items():
        counts, _ = np.histogram(values, edges)
        rows += [
            {"score": round(float(low), 4), "score_end": round(float(high), 4), "verdict": name,
             "fakes": int(count), "threshold": None}
            for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
            if count
        ]  # fmt: skip
    empty = dict.fromkeys(("score", "score_end", "verdict", "fakes"))
    rows += [{**empty, "threshold": limit} for limit in limits]
    bars = (
        alt.Chart(ROWS)
        .transform_filter("datum.fakes != null")
        .mark_bar()
        .encode(
            x=alt.X(
                "score:Q",
                bin="binned",
                title="score",
                axis=alt.Axis(tickCount=8),
                scale=alt.Scale(domain=[edges[0], largest]),
            ),
            x2="score_end:Q",
            y=alt.Y("fakes:Q", title="fakes", axis=alt.Axis(tickMinStep=1)),
            color=alt.Color(
                "verdict:N",
                title=None,
                scale=alt.Scale(domain=_VERDICTS, range=[COLOURS[2], COLOURS[1]]),
                legend=alt.Legend(orient="bottom"),
            ),
            tooltip=["score:Q", "score_end:Q", "verdict:N", "fakes:Q"],
        )
    )
    lines = (
        alt.Chart(ROWS)
        .transform_filter("datum.threshold != null")
        .mark_rule(color=GUIDE, strokeDash=[5, 4], strokeWidth=2)
        .encode(x="threshold:Q", tooltip=["threshold:Q"])
    )
    named = ", ".join(f"{limit:g}" for limit in limits)
    live = len(scores["live"])
    return Chart(
        f"Scores of {provider}",
        (bars + lines).properties(height=150),
        rows,
        f"Histogram of the scores that {provider} gave: {live} of {len(verdicts)} fakes are live.",
        f"{counted(len(verdicts), 'score')}, {live:,} live."
        + (f" Dashed: threshold{'s' if len(limits) > 1 else ''} {named}." if limits else ""),
        file=f"scores_{provider}",
    )
