"""Figures of the report."""

from __future__ import annotations

import csv
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from deepfakemnist.config.detectors import TrainingSet, parse_training_set
from deepfakemnist.tables.files import atomic_path


def write_cross_quality_figure(metrics: Path, path: Path) -> None:
    """Draw video-level test AUC of every detector: rows are the quality trained on, columns the quality tested on.

    Args:
        metrics: metrics.tsv of the evaluation; several seeds are averaged.
        path: SVG to write.
    """
    with metrics.open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file, delimiter="\t"))
    # Rows of seeds only: where there are several, their mean and sd follow as rows of their own.
    rows = [row for row in table if row["level"] == "video" and row["split"] == "test" and row["seed"].isdigit()]
    detectors = sorted({row["detector"] for row in rows}) or ["none"]
    # Training sets by action would be twenty rows more; they have tables of their own.
    trained = [
        name
        for name in dict.fromkeys(row["trained_on"] for row in rows)
        if parse_training_set(name) == TrainingSet(name)
    ]
    tested = list(dict.fromkeys(row["tested_on"] for row in rows))
    # A stable hash salt keeps the SVG the same to the byte.
    with plt.rc_context({"svg.hashsalt": "deepfakemnist", "svg.fonttype": "none"}):
        figure, axes = plt.subplots(
            1, len(detectors), figsize=(1.5 + 3.2 * len(detectors), 3.4), squeeze=False, layout="constrained"
        )
        for axis, detector in zip(axes[0], detectors, strict=True):
            grid = np.full((len(trained), len(tested)), np.nan)
            for i, one in enumerate(trained):
                for j, other in enumerate(tested):
                    values = [
                        float(row["auc"])
                        for row in rows
                        if (row["detector"], row["trained_on"], row["tested_on"]) == (detector, one, other)
                        and row["auc"]
                    ]
                    if values:
                        grid[i, j] = np.mean(values)
                        shade = "white" if grid[i, j] < 0.75 else "black"
                        axis.text(j, i, f"{grid[i, j]:.3f}", ha="center", va="center", color=shade)
            image = axis.imshow(grid, vmin=0.5, vmax=1.0, cmap="viridis")
            axis.set_xticks(range(len(tested)), tested)
            axis.set_yticks(range(len(trained)), trained)
            axis.set(title=detector, xlabel="tested on", ylabel="trained on")
        figure.colorbar(image, ax=axes[0].tolist(), label="AUC, videos of the test split")
        with atomic_path(path) as part:
            figure.savefig(part, format="svg", metadata={"Date": None})
        plt.close(figure)
