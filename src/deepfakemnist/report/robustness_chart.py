"""Robustness curves: metrics on perturbed test frames by the strength of the perturbation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from deepfakemnist.config.perturbations import LEVELS, perturbed_name
from deepfakemnist.report.charts import GUIDE, ROWS, choice, tooltips
from deepfakemnist.report.condition_tables import PERTURBATIONS, is_whole
from deepfakemnist.report.measurement_cells import RUN, Cells, RowIndex, over_seeds, percent
from deepfakemnist.report.metric_charts import counts, figures, sizes_of
from deepfakemnist.report.parts import Chart


def robustness_chart(title: str, whole: Sequence[Cells], others: Sequence[Cells]) -> list[Chart]:
    """Return a chart of balanced accuracy, by frame, against five levels of each perturbation; none without any.

    Args:
        title: number and name of the protocol.
        whole: rows of metrics.tsv on the run's own test clips.
        others: such rows with ``tested_on`` as ``QUALITY+PERTURBATION`` and its level.
    """
    perturbed = [row for row in others if "+" in row["tested_on"] and is_whole(row["trained_on"])]
    if not perturbed:
        return []
    own, other = RowIndex(whole, RUN), RowIndex(perturbed, RUN)
    tested = {row["tested_on"] for row in perturbed}
    rows: list[dict[str, Any]] = []
    for quality in sorted({name.split("+")[0] for name in tested}):
        for kind, (name, heading) in PERTURBATIONS.items():
            where = [perturbed_name(quality, kind, strength) for strength in LEVELS[kind]]
            if not tested.intersection(where):
                continue
            settings = ["none", *(heading.format(strength) for strength in LEVELS[kind])]
            for detector, trained_on in dict.fromkeys((row["detector"], row["trained_on"]) for row in perturbed):
                run = {"detector": detector, "trained_on": trained_on}
                for level, (setting, tested_on) in enumerate(zip(settings, (quality, *where), strict=True)):
                    found = (other if level else own).find("frame", **run, tested_on=tested_on)
                    if (row := over_seeds(found)) and row["balanced_accuracy"]:
                        labels = {"perturbation": name, "trained on": trained_on, "detector": detector}
                        labels |= {"tested on": quality, "setting": setting}
                        measured = figures("balanced accuracy %", percent(found, "balanced_accuracy"))
                        rows.append({**labels, "level": level, **measured, **counts(row)})
    if not rows:
        return []
    perturbations, trained, detectors = (
        list(dict.fromkeys(row[name] for row in rows)) for name in ("perturbation", "trained on", "detector")
    )
    chosen = [choice("perturbation", perturbations, "Perturbation"), choice("trained", trained, "Trained on")]
    base = (
        alt.Chart(ROWS)
        .transform_filter(alt.datum.perturbation == chosen[0])
        .transform_filter(alt.datum["trained on"] == chosen[1])
        .encode(
            x=alt.X("setting:N", sort=alt.EncodingSortField("level", op="min"), title="strength"),
            color=alt.Color(
                "detector:N",
                scale=alt.Scale(domain=detectors),
                legend=alt.Legend(orient="bottom", columns=3, symbolOpacity=1),
            ),
            detail="tested on:N",
            tooltip=tooltips(rows),
        )
    )
    y = alt.Y("balanced accuracy %:Q", title="balanced accuracy, %", scale=alt.Scale(zero=False))
    drawing = (
        alt.layer(
            alt.Chart(ROWS).mark_rule(color=GUIDE, strokeDash=[4, 4]).encode(y=alt.datum(50)),
            base.mark_rule(opacity=0.4).encode(y=alt.Y("low:Q"), y2="high:Q"),
            base.mark_line(point=True).encode(y=y),
        )
        .add_params(*chosen)
        .properties(height=320)
    )
    caption = (
        f"{sizes_of(rows)} of test, by frame; bars: 95 % intervals where there are any. Dashed: guessing; an "
        "interval that crosses it includes chance. Each perturbation from none, at the left, to its strongest."
    )
    alt_text = f"Balanced accuracy of each detector against the strength of {', '.join(perturbations)}."
    return [Chart(f"{title}: balanced accuracy by strength", drawing, rows, alt_text, caption, "robustness")]
