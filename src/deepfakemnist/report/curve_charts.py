"""Charts of scores on test videos: ROC curves with bands, distributions of P(fake), and reliability.

They show detectors tested on the quality they were trained on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import altair as alt
import numpy as np

from deepfakemnist.report.charts import COLOURS, FAKE, GUIDE, REAL, ROWS, choice, tooltips
from deepfakemnist.report.measurement_cells import Cells, as_tested
from deepfakemnist.report.metric_charts import is_plain
from deepfakemnist.report.parts import Chart

Rows = list[dict[str, Any]]
_CLASSES = {"scores_real": "real", "scores_fake": "fake"}
_SCALINGS = {"reliability": "as trained", "reliability_scaled": "scaled"}
_ALL = "all"
#: Width of a bin of curves.tsv's distributions, percent.
_SCORE_BIN = 5


def curve_charts(curves: Sequence[Cells], people: str) -> list[Chart]:
    """Return the charts of all curves that there are.

    Args:
        curves: rows of curves.tsv.
        people: number of people of test, as captions say it.
    """
    rows = sorted((row for row in curves if _is_within(row)), key=as_tested)
    return [*_roc(rows, people), *_distributions(rows, people), *_reliability(rows, people)]


def _roc(curves: Sequence[Cells], people: str) -> list[Chart]:
    rows: Rows = []
    for place, row in enumerate(curves):
        if row["curve"] in ("roc", "roc_band"):
            ends = {name: 100 * float(row[name]) if row[name] else None for name in ("low", "high")}
            shown = {"FPR %": 100 * float(row["x"]), "TPR %": 100 * float(row["y"]), **ends}
            rounded = {name: None if value is None else round(value, 2) for name, value in shown.items()}
            what = {"detector": row["detector"], "quality": row["tested_on"], "seed": row["seed"]}
            rows.append({**what, "curve": row["curve"], **rounded, "videos": int(row["n"]), "point": place})
    if not rows:
        return []
    has_band = any(row["curve"] == "roc_band" for row in rows)
    detectors, qualities = _values(rows, "detector"), _values(rows, "quality")
    quality, detector = choice("quality", qualities, "Quality"), choice("detector", [_ALL, *detectors], "Detector")
    base = (
        alt.Chart(ROWS)
        .transform_filter(alt.datum.quality == quality)
        .transform_filter((detector == _ALL) | (alt.datum.detector == detector))
        .encode(
            color=alt.Color(
                "detector:N",
                scale=alt.Scale(domain=detectors),
                legend=alt.Legend(orient="bottom", columns=3, symbolOpacity=1),
            ),
            detail="seed:N",
            x=alt.X("FPR %:Q", title="false positive rate, %", scale=alt.Scale(domain=[0, 100])),
        )
    )
    y = alt.Y("TPR %:Q", title="true positive rate, %", scale=alt.Scale(domain=[0, 100]))
    line = base.transform_filter(alt.datum.curve == "roc").mark_line(strokeWidth=1.5)
    # Twenty bands would hide each other: there are those of one detector.
    band = base.transform_filter((alt.datum.curve == "roc_band") & (detector != _ALL)).mark_area(opacity=0.15)
    drawing = alt.layer(
        _diagonal("FPR %", "TPR %"),
        band.encode(y=alt.Y("low:Q"), y2="high:Q"),
        line.encode(y=y, order="point:Q", tooltip=tooltips(rows)),
    )
    band_words = (
        "Choose a detector for its band: 95 % intervals of the TPR at fixed FPRs, clustered by person, each of which "
        "holds at its FPR, not for the whole curve."
        if has_band
        else "No bands: fewer than 10 people in a class."
    )
    caption = f"{_counts(rows, people)}, a line per training seed. {band_words} Dotted: guessing."
    alt_text = f"ROC curves of {', '.join(detectors)} on {', '.join(qualities)}."
    sized = drawing.add_params(quality, detector).properties(height=380)
    return [Chart("ROC curves", sized, rows, alt_text, caption, "roc")]


def _distributions(curves: Sequence[Cells], people: str) -> list[Chart]:
    counts: dict[tuple[str, str, str], dict[int, int]] = {}
    for row in curves:
        if row["curve"] in _CLASSES:
            of_class = counts.setdefault((row["detector"], row["tested_on"], _CLASSES[row["curve"]]), {})
            start = round(100 * float(row["x"]))
            of_class[start] = of_class.get(start, 0) + int(row["n"])
    rows: Rows = [
        {
            "detector": name,
            "quality": quality,
            "class": label,
            "P(fake) from %": start,
            "to %": start + _SCORE_BIN,
            "share of class %": round(100 * count / sum(of_class.values()), 2),
            "videos": count,
        }
        for (name, quality, label), of_class in counts.items()
        for start, count in sorted(of_class.items())
    ]
    if not rows:
        return []
    detectors, qualities = _values(rows, "detector"), _values(rows, "quality")
    detector, quality = choice("detector", detectors, "Detector"), choice("quality", qualities, "Quality")
    scale = alt.Scale(domain=["real", "fake"], range=[REAL, FAKE])
    drawing = (
        alt.layer(
            alt.Chart(alt.Data(values=[{"x": 50}])).mark_rule(color=GUIDE, strokeDash=[4, 4]).encode(x="x:Q"),
            alt.Chart(ROWS)
            .transform_filter(alt.datum.detector == detector)
            .transform_filter(alt.datum.quality == quality)
            .mark_rect(opacity=0.6)
            .encode(
                x=alt.X("P(fake) from %:Q", title="P(fake) of the video, %", scale=alt.Scale(domain=[0, 100])),
                x2="to %:Q",
                y=alt.Y("share of class %:Q", title="videos of the class, %", scale=alt.Scale(zero=True)),
                y2=alt.Y2Datum(0),
                color=alt.Color("class:N", scale=scale, title=None, legend=alt.Legend(orient="bottom")),
                tooltip=tooltips(rows),
            ),
        )
        .add_params(detector, quality)
        .properties(height=260)
    )
    caption = (
        f"{_counts([_total(curves)], people)}, of all training seeds together; a video's P(fake) is the mean over its "
        "frames, and from 50 % on (dashed) it is called fake. The less the colours overlap, the better the detector."
    )
    alt_text = f"Distribution of P(fake) over real and fake test videos, of {', '.join(detectors)}."
    return [Chart("Scores of reals and fakes", drawing, rows, alt_text, caption, "scores")]


def _reliability(curves: Sequence[Cells], people: str) -> list[Chart]:
    points: dict[tuple[str, str, str], list[Cells]] = {}
    for row in curves:
        if row["curve"] in _SCALINGS:
            points.setdefault((row["detector"], row["tested_on"], _SCALINGS[row["curve"]]), []).append(row)
    rows: Rows = [
        {"detector": name, "quality": quality, "P(fake)": scaling, **tenth}
        for (name, quality, scaling), of_curve in points.items()
        for tenth in _tenths(of_curve)
    ]
    if not rows:
        return []
    detectors, qualities = _values(rows, "detector"), _values(rows, "quality")
    detector = choice("detector", detectors, "Detector")
    base = (
        alt.Chart(ROWS)
        .transform_filter(alt.datum.detector == detector)
        .encode(
            x=alt.X("mean P(fake) %:Q", scale=alt.Scale(domain=[0, 100])),
            y=alt.Y("share of fakes %:Q", scale=alt.Scale(domain=[0, 100])),
            color=alt.Color(
                "quality:N",
                scale=alt.Scale(domain=qualities, range=list(COLOURS[: len(qualities)])),
                legend=alt.Legend(orient="bottom"),
            ),
            tooltip=tooltips(rows),
        )
    )
    dash = alt.StrokeDash(
        "P(fake):N",
        scale=alt.Scale(domain=list(_SCALINGS.values()), range=[[4, 4], [1, 0]]),
        legend=alt.Legend(orient="bottom", title=None),
    )
    size = alt.Size("videos:Q", scale=alt.Scale(range=[20, 300]), legend=None)
    drawing = (
        alt.layer(
            _diagonal("mean P(fake) %", "share of fakes %"),
            base.mark_line(strokeWidth=1.5).encode(strokeDash=dash),
            base.mark_point(filled=True, opacity=0.7).encode(size=size),
        )
        .add_params(detector)
        .properties(height=360)
    )
    caption = (
        f"{_counts([_total(curves)], people)}, in tenths of P(fake), of all training seeds together; scaled: by the "
        "temperature chosen on val. On the diagonal, P(fake) is a probability; below it, the detector is too sure of "
        "fakes. Tenths with few videos (small points) say little."
    )
    alt_text = f"Reliability curves of {', '.join(detectors)}: share of fakes against mean P(fake)."
    return [Chart("Reliability: is P(fake) a probability?", drawing, rows, alt_text, caption, "reliability")]


def _tenths(points: Sequence[Cells]) -> Rows:
    """Return mean P(fake) and share of fakes in tenths of P(fake), over the videos of all seeds."""
    x, y, n = (np.array([float(point[name]) for point in points]) for name in ("x", "y", "n"))
    tenth = np.minimum((10 * x).astype(int), 9)
    counts, sums = np.bincount(tenth, n, 10), [np.bincount(tenth, values * n, 10) for values in (x, y)]
    return [
        {
            "mean P(fake) %": round(100 * sums[0][one] / counts[one], 2),
            "share of fakes %": round(100 * sums[1][one] / counts[one], 2),
            "videos": int(counts[one]),
        }
        for one in np.flatnonzero(counts)
    ]


def _diagonal(x: str, y: str) -> alt.Chart:
    ends = alt.Data(values=[{x: 0, y: 0}, {x: 100, y: 100}])
    return alt.Chart(ends).mark_line(color=GUIDE, strokeWidth=1, strokeDash=[2, 3]).encode(x=f"{x}:Q", y=f"{y}:Q")


def _is_within(row: Cells) -> bool:
    return row["trained_on"] == row["tested_on"] and is_plain(row["trained_on"])


def _values(rows: Iterable[dict[str, Any]], name: str) -> list[str]:
    return list(dict.fromkeys(row[name] for row in rows))


def _total(curves: Sequence[Cells]) -> dict[str, Any]:
    """Return the number of videos of a curve: those of all reliability bins of a run, which hold each once."""
    first = next((row for row in curves if row["curve"] == "reliability"), None)
    if first is None:
        return {"videos": 0}
    names = ("detector", "trained_on", "tested_on", "seed", "curve")
    of_run = [row for row in curves if all(row[name] == first[name] for name in names)]
    return {"videos": sum(int(row["n"]) for row in of_run)}


def _counts(rows: Iterable[dict[str, Any]], people: str) -> str:
    videos = sorted({row["videos"] for row in rows})
    return f"{'–'.join(map(str, dict.fromkeys((videos[0], videos[-1]))))} videos of {people} people of test"
