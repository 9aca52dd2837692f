"""Cross-quality figure of the report: a grid of AUCs per detector."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from deepfakemnist.config.training_sets import TrainingSet, parse_training_set
from deepfakemnist.tables.files import atomic_path
from deepfakemnist.tables.tsv import read_tsv


def write_cross_quality_figure(metrics: Path, path: Path) -> None:
    """Plot the video-level test AUC of every detector: rows are training qualities, columns test qualities.

    Args:
        metrics: metrics.tsv of the evaluation stage; several seeds are averaged.
        path: SVG to write.
    """
    table = read_tsv(metrics)
    # Rows of single seeds only; mean and sd of several seeds are separate rows.
    rows = [row for row in table if row["level"] == "video" and row["split"] == "test" and row["seed"].isdigit()]
    detectors = sorted({row["detector"] for row in rows}) or ["none"]
    # Training sets by action would add twenty rows; the protocols page has tables for them.
    trained = [
        name
        for name in dict.fromkeys(row["trained_on"] for row in rows)
        if parse_training_set(name) == TrainingSet(name)
    ]
    rows = [row for row in rows if row["trained_on"] in trained]
    tested = list(dict.fromkeys(row["tested_on"] for row in rows))
    # A fixed hash salt makes the SVG reproducible to the byte.
    with plt.rc_context({"svg.hashsalt": "deepfakemnist", "svg.fonttype": "none"}):
        figure, axes = plt.subplots(
            1, len(detectors), figsize=(1.5 + 3.2 * len(detectors), 3.4), squeeze=False, layout="constrained"
        )
        for axis, detector in zip(axes[0], detectors, strict=True):
            grid = np.full((len(trained), len(tested)), np.nan)
            for i, train_quality in enumerate(trained):
                for j, test_quality in enumerate(tested):
                    values = [
                        float(row["auc"])
                        for row in rows
                        if (row["detector"], row["trained_on"], row["tested_on"])
                        == (detector, train_quality, test_quality)
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
        figure.colorbar(image, ax=axes[0].tolist(), label=f"video-level AUC, test split\n{_sizes(rows)}")
        with atomic_path(path) as part:
            figure.savefig(part, format="svg", metadata={"Date": None})
        plt.close(figure)


def _sizes(rows: Sequence[dict[str, str]]) -> str:
    """Return the numbers of people and videos behind the figures, as ranges where they differ."""
    texts = []
    for name, what in (("n_people", "people"), ("n_videos", "videos")):
        numbers = sorted({int(row[name]) for row in rows if row[name]})
        if numbers:
            texts.append("–".join(map(str, dict.fromkeys((numbers[0], numbers[-1])))) + f" {what}")
    return ", ".join(texts)
