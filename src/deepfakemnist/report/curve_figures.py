"""ROC and reliability figures of the report, by video, of detectors tested on the quality they were trained on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from deepfakemnist.config.training_sets import TrainingSet, parse_training_set
from deepfakemnist.tables.files import atomic_path
from deepfakemnist.tables.tsv import read_tsv

Cells = dict[str, str]

#: Curves of curves.tsv in the reliability figure, with label and line style.
_RELIABILITY = {"reliability": ("as trained", "--"), "reliability_scaled": ("temperature of val", "-")}


def write_roc_figure(curves: Path, path: Path) -> None:
    """Plot the ROC curves: a panel per quality, a colour per detector, a line per seed.

    Args:
        curves: curves.tsv of the evaluation stage.
        path: SVG to write.
    """
    rows = _within_quality(read_tsv(curves), ["roc"])
    qualities, detectors = (list(dict.fromkeys(row[name] for row in rows)) for name in ("tested_on", "detector"))
    with plt.rc_context({"svg.hashsalt": "deepfakemnist", "svg.fonttype": "none"}):
        figure, axes = _panels(qualities or ["none"])
        for axis, quality in zip(axes, qualities, strict=False):
            for number, detector in enumerate(detectors):
                lines = _by_seed(row for row in rows if (row["tested_on"], row["detector"]) == (quality, detector))
                for first, points in enumerate(lines):
                    axis.step(*_xy(points), where="post", color=f"C{number}", label=None if first else detector)
            axis.set(title=quality, xlabel="false positive rate")
            axis.legend(loc="lower right")
        axes[0].set_ylabel("true positive rate, videos of test")
        _save(figure, path)


def write_reliability_figure(curves: Path, path: Path) -> None:
    """Plot the share of fakes against P(fake), before and after temperature scaling: a panel per detector, all seeds.

    Args:
        curves: curves.tsv of the evaluation stage.
        path: SVG to write.
    """
    rows = _within_quality(read_tsv(curves), list(_RELIABILITY))
    qualities, detectors = (list(dict.fromkeys(row[name] for row in rows)) for name in ("tested_on", "detector"))
    with plt.rc_context({"svg.hashsalt": "deepfakemnist", "svg.fonttype": "none"}):
        figure, axes = _panels(detectors or ["none"])
        for axis, detector in zip(axes, detectors, strict=False):
            for number, quality in enumerate(qualities):
                for curve, (label, style) in _RELIABILITY.items():
                    wanted = (detector, quality, curve)
                    points = [row for row in rows if (row["detector"], row["tested_on"], row["curve"]) == wanted]
                    axis.plot(*_binned(points), style, marker=".", color=f"C{number}", label=f"{quality}, {label}")
            axis.set(title=detector, xlabel="mean P(fake)")
        axes[0].set_ylabel("share of fakes, videos of test")
        if detectors:
            # Curves fill the panels; inside, a legend would hide some.
            figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize="small")
        _save(figure, path)


def _within_quality(rows: Sequence[Cells], curves: Sequence[str]) -> list[Cells]:
    """Return the rows of detectors trained on one quality or all, without restriction, and tested on that quality."""
    return [
        row
        for row in rows
        if row["curve"] in curves
        and row["trained_on"] == row["tested_on"]
        and parse_training_set(row["trained_on"]) == TrainingSet(row["trained_on"])
    ]


def _by_seed(rows: Iterable[Cells]) -> list[list[Cells]]:
    seeds: dict[str, list[Cells]] = {}
    for row in rows:
        seeds.setdefault(row["seed"], []).append(row)
    return list(seeds.values())


def _xy(points: Sequence[Cells]) -> tuple[list[float], list[float]]:
    return [float(point["x"]) for point in points], [float(point["y"]) for point in points]


def _binned(points: Sequence[Cells]) -> tuple[list[float], list[float]]:
    """Return mean P(fake) and share of fakes in tenths of P(fake), over the videos of all seeds."""
    x, y, n = (np.array([float(point[name]) for point in points]) for name in ("x", "y", "n"))
    bins = np.minimum((10 * x).astype(int), 9)
    counts = np.bincount(bins, n, 10)
    filled = counts > 0
    means = [(np.bincount(bins, values * n, 10)[filled] / counts[filled]).tolist() for values in (x, y)]
    return means[0], means[1]


def _panels(names: Sequence[str]) -> tuple[Any, Any]:
    figure, axes = plt.subplots(
        1, len(names), figsize=(0.6 + 3.4 * len(names), 3.6), squeeze=False, layout="constrained"
    )
    for axis in axes[0]:
        axis.plot([0, 1], [0, 1], color="0.8", linewidth=1)
        axis.set(xlim=(0, 1), ylim=(0, 1.01), aspect="equal")
    return figure, axes[0]


def _save(figure: Any, path: Path) -> None:
    with atomic_path(path) as part:
        figure.savefig(part, format="svg", metadata={"Date": None})
    plt.close(figure)
