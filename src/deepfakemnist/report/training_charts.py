"""Chart of trainings: loss and accuracy by epoch on train and val, and the epoch that was kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import altair as alt

from deepfakemnist.report.charts import COLOURS, ROWS, choice, tooltips
from deepfakemnist.report.measurement_cells import as_tested
from deepfakemnist.report.metric_charts import is_plain
from deepfakemnist.report.parts import Chart
from deepfakemnist.tables.tsv import read_tsv

#: Measure and split of each column of history.tsv that is drawn, and its factor.
_COLUMNS = {
    "train_loss": ("loss", "train", 1),
    "val_loss": ("loss", "val", 1),
    "train_accuracy": ("accuracy %", "train", 100),
    "val_balanced_accuracy": ("accuracy %", "val", 100),
    "val_auc": ("AUC %", "val", 100),
}


def training_chart(histories: Sequence[Path]) -> list[Chart]:
    """Return a chart of the trainings on whole qualities, or on all of them; none without any.

    Args:
        histories: files ``…/DETECTOR/TRAINING SET/seedN/history.tsv``.
    """
    trainings = []
    for path in histories:
        detector, trained_on, seed = path.parts[-4:-1]
        if is_plain(trained_on):
            where = {"detector": detector, "trained_on": trained_on, "tested_on": trained_on}
            trainings.append((as_tested(where), detector, trained_on, seed.removeprefix("seed"), path))
    rows: list[dict[str, Any]] = []
    for _, detector, trained_on, seed, path in sorted(trainings):
        for epoch in read_tsv(path):
            for name, (measure, split, factor) in _COLUMNS.items():
                if epoch[name]:
                    what = {"detector": detector, "trained on": trained_on, "seed": seed, "epoch": int(epoch["epoch"])}
                    value = float(f"{factor * float(epoch[name]):.5g}")
                    kept = "yes" if epoch["chosen"] == "1" else "no"
                    rows.append({**what, "measure": measure, "split": split, "value": value, "kept": kept})
    if not rows:
        return []
    chosen = [
        choice(parameter, list(dict.fromkeys(row[column] for row in rows)), label)
        for parameter, column, label in (
            ("detector", "detector", "Detector"),
            ("trained", "trained on", "Trained on"),
            ("measure", "measure", "Measure"),
        )
    ]
    base = (
        alt.Chart(ROWS)
        .transform_filter(alt.datum.detector == chosen[0])
        .transform_filter(alt.datum["trained on"] == chosen[1])
        .transform_filter(alt.datum.measure == chosen[2])
        .encode(
            x=alt.X(
                "epoch:Q", axis=alt.Axis(values=_ticks(max(row["epoch"] for row in rows))), scale=alt.Scale(nice=False)
            ),
            y=alt.Y("value:Q", title=None, scale=alt.Scale(zero=False)),
            color=alt.Color(
                "split:N",
                scale=alt.Scale(domain=["train", "val"], range=list(COLOURS[:2])),
                legend=alt.Legend(orient="bottom", title=None),
            ),
            detail="seed:N",
            tooltip=tooltips(rows),
        )
    )
    drawing = (
        alt.layer(
            base.mark_line(strokeWidth=1.5),
            base.transform_filter((alt.datum.kept == "yes") & (alt.datum.split == "val")).mark_point(
                size=110, filled=True
            ),
        )
        .add_params(*chosen)
        .properties(height=280)
    )
    count = len({(row["detector"], row["trained on"], row["seed"]) for row in rows})
    caption = (
        f"{count} trainings, a line per seed; the point is the epoch that was kept, by val. Accuracy on train is "
        "plain, of augmented frames while weights still change; on val it is balanced. Other training sets have a "
        "history.tsv each. Loss on val that rises while loss on train falls is over-fitting."
    )
    alt_text = f"Loss, accuracy and AUC by epoch on train and val of {count} trainings."
    return [Chart("Training: loss and accuracy by epoch", drawing, rows, alt_text, caption, "training")]


def _ticks(epochs: int) -> list[int]:
    return list(range(1, epochs + 1, max(1, epochs // 10)))
