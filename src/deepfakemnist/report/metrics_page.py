"""Report pages of detector metrics: over all seeds and of each, pairwise comparisons, per action, unscored clips."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deepfakemnist.report.pages import write_page
from deepfakemnist.report.paper import paper_accuracy
from deepfakemnist.report.parts import Table
from deepfakemnist.tables.tsv import read_tsv

Cells = dict[str, str]

#: Metrics shown after balanced accuracy and AUC, and their labels.
_MORE_METRICS = {
    "accuracy": "accuracy %",
    "eer": "EER %",
    "average_precision": "AP %",
    "tpr_at_fpr_1": "TPR % at FPR 1 %",
    "tpr_at_fpr_5": "TPR % at FPR 5 %",
    "brier": "Brier %",
    "calibration_error": "ECE %",
    "apcer": "APCER %",
    "bpcer": "BPCER %",
    "acer": "ACER %",
}
_MEASUREMENT = ("detector", "trained_on", "tested_on", "split", "level")
_METRIC_TITLES = (
    "balanced accuracy %",
    "95 % CI",
    "paper %",
    "chance %",
    "AUC %",
    "95 % CI",
    *_MORE_METRICS.values(),
)
_COUNTS = {"n_videos": "videos", "n_frames": "frames", "n_people": "people", "n_without_frames": "unscored clips"}
_COMPARED = {"balanced_accuracy": "balanced accuracy, points", "auc": "AUC, points"}
#: Maximum number of unscored clips on the page; unscored.tsv holds all.
_MAX_UNSCORED = 500

_INTRO = (
    "95 % intervals are clustered by person, and by driver where fakes of several people share drivers; the last "
    "column says what they hold for. With fewer than 10 people there is no interval and no p-value. The first table "
    "has one row per measurement: of several seeds the mean, whose interval covers the variance between seeds too, "
    "and the standard deviations over seeds. The paper's figures (arXiv 2108.07949; ≈: read off a chart) are frame-"
    "level accuracies on its own 20,000 videos, as many fakes as reals, split by video; they are comparable with "
    "balanced accuracies only, of a run of that size on those sources. Chance is that of balanced accuracy; that of "
    "plain accuracy is the share of the larger class. APCER is the fraction of missed fakes of the worst action, "
    "BPCER that of reals classified as fake, ACER their mean. A clip that could not be scored counts as an error in "
    "its class and is listed below. Comparisons are paired, pooled over seeds, and adjusted (Holm) for all of one "
    "metric on one split and level."
)


def write_metrics_page(
    metrics: Path, pairs: Path, path: Path, unscored: Path | None = None, calibration: Path | None = None
) -> None:
    """Show all metrics of every detector, training set and test quality, and pairwise comparisons of detectors.

    Args:
        metrics, pairs, unscored, calibration: tables of the evaluation stage.
        path: page to write.
    """
    measurements: dict[tuple[str, ...], list[Cells]] = {}
    for row in read_tsv(metrics):
        measurements.setdefault(tuple(row[name] for name in _MEASUREMENT), []).append(row)
    tables = [_over_seeds(measurements)]
    if any(len(rows) > 1 for rows in measurements.values()):
        tables.append(_every_seed(measurements))
    tables.append(_comparisons(read_tsv(pairs)))
    if calibration is not None:
        tables.append(_calibration(read_tsv(calibration)))
    if unscored is not None:
        tables.append(_unscored(read_tsv(unscored)))
    write_page(path, "Detectors", _INTRO, tables)


def write_actions_page(actions: Path, path: Path) -> None:
    """Show balanced accuracy and AUC on the fakes of each action against all reals, which outnumber them."""
    keys = ("detector", "trained_on", "tested_on", "split", "level", "seed", "action")
    counts = ("n_videos", "n_people", "generalises_to")
    rows = [
        [
            *(row[name] for name in keys),
            *(text for name in ("balanced_accuracy", "auc") for text in (percent(row[name]), interval(row, name))),
            *(row[name] for name in counts),
        ]
        for row in read_tsv(actions)
    ]
    columns = (
        *(name.replace("_", " ") for name in keys),
        "balanced accuracy %",
        "95 % CI",
        "AUC %",
        "95 % CI",
        "videos",
        "people",
        "interval for",
    )
    intro = "Fakes of one action against all reals. Chance is 50 % in both columns of percentages."
    write_page(path, "Metrics by action", intro, [Table("Actions", columns, rows)])


def percent(value: str) -> str:
    """Return a share as percent with two decimals; a dash where it is undefined."""
    return f"{100 * float(value):.2f}" if value else "–"


def interval(row: Cells, name: str) -> str:
    """Return the interval of a metric in percent; a dash where there is none."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f"{100 * float(low):.1f}–{100 * float(high):.1f}" if low and high else "–"


def _over_seeds(measurements: dict[tuple[str, ...], list[Cells]]) -> Table:
    rows = []
    for key, found in measurements.items():
        by_seed = {row["seed"]: row for row in found}
        row, spread = by_seed.get("mean") or found[0], by_seed.get("sd")
        deviations = [percent(spread[name]) if spread else "–" for name in ("balanced_accuracy", "auc")]
        seeds = str(sum(name not in ("mean", "sd") for name in by_seed))
        rows.append([*key, seeds, *_metrics(row), *deviations, *_sizes(row)])
    columns = (
        *(name.replace("_", " ") for name in _MEASUREMENT),
        "seeds",
        *_METRIC_TITLES,
        "balanced accuracy, sd over seeds",
        "AUC, sd over seeds",
        *_COUNTS.values(),
        "interval for",
    )
    return Table("Metrics by detector, training set and test quality, over all seeds", columns, rows)


def _every_seed(measurements: dict[tuple[str, ...], list[Cells]]) -> Table:
    rows = [
        [*key, row["seed"], *_metrics(row), *_sizes(row)]
        for key, found in measurements.items()
        for row in found
        if row["seed"] not in ("mean", "sd")
    ]
    keys = (name.replace("_", " ") for name in _MEASUREMENT)
    return Table("Metrics of every seed", (*keys, "seed", *_METRIC_TITLES, *_COUNTS.values(), "interval for"), rows)


def _metrics(row: Cells) -> list[str]:
    in_paper = (row["split"], row["level"]) == ("test", "frame")  # the only figures in the paper
    paper = paper_accuracy(row["detector"], row["trained_on"], row["tested_on"]) if in_paper else None
    more = []
    for name in _MORE_METRICS:
        text = percent(row[name])
        has_interval = row.get(f"{name}_low") and row.get(f"{name}_high")
        more.append(f"{text} [{interval(row, name)}]" if has_interval else text)
    return [
        percent(row["balanced_accuracy"]),
        interval(row, "balanced_accuracy"),
        paper or "",
        "50",
        percent(row["auc"]),
        interval(row, "auc"),
        *more,
    ]


def _sizes(row: Cells) -> list[str]:
    return [*(row[name] for name in _COUNTS), row["generalises_to"]]


def _comparisons(pairs: Sequence[Cells]) -> Table:
    keys = ("detector", "other", "trained_on", "tested_on", "split", "level", "seeds")
    rows = [
        [
            *(row[name] for name in keys),
            *(text for name in _COMPARED for text in _difference(row, name)),
            *(row[name] for name in ("n_videos", "n_people", "generalises_to")),
        ]
        for row in pairs
    ]
    columns = (
        *("minus" if name == "other" else name.replace("_", " ") for name in keys),
        *(text for title in _COMPARED.values() for text in (title, "95 % CI", "p", "p, adjusted")),
        "videos",
        "people",
        "interval for",
    )
    return Table("Pairwise comparison of detectors", columns, rows)


def _difference(row: Cells, name: str) -> list[str]:
    value = row[f"{name}_difference"]
    low, high = (row[f"{name}_{end}"] for end in ("low", "high"))
    ends = f"{100 * float(low):+.1f} to {100 * float(high):+.1f}" if low and high else "–"
    texts = [f"{100 * float(value):+.2f}" if value else "–", ends]
    for column in (f"{name}_p", f"{name}_p_holm"):
        p = row[column]
        texts.append("–" if not p else "< 0.001" if float(p) < 0.001 else f"{float(p):.3f}")
    return texts


def _calibration(rows: Sequence[Cells]) -> Table:
    keys = ("detector", "trained_on", "tested_on", "seed", "level")
    measures = {
        "calibration_error": "ECE %",
        "calibration_error_scaled": "ECE %, scaled",
        "brier": "Brier %",
        "brier_scaled": "Brier %, scaled",
    }
    counts = {
        "n_val_videos": "val videos",
        "n_val_people": "val people",
        "n_videos": "test videos",
        "n_people": "test people",
    }
    shown = [
        [
            *(row[name] for name in keys),
            f"{float(row['temperature']):.2f}" if row["temperature"] else "–",
            *(percent(row[name]) for name in measures),
            *(row[name] for name in counts),
        ]
        for row in rows
    ]
    columns = (*(name.replace("_", " ") for name in keys), "temperature", *measures.values(), *counts.values())
    return Table("Calibration on test, before and after scaling by a temperature chosen on val", columns, shown)


def _unscored(clips: Sequence[Cells]) -> Table:
    columns = ("split", "quality", "class", "action", "person", "clip", "runs")
    names = ("split", "quality", "label", "action", "person_id", "video_id", "runs")
    rows = [
        [{"0": "real", "1": "fake"}.get(row[name], row[name]) if name == "label" else row[name] for name in names]
        for row in clips[:_MAX_UNSCORED]
    ]
    title = f"Clips that could not be scored: {len(clips)}"
    if len(clips) > _MAX_UNSCORED:
        title += f", of which the first {_MAX_UNSCORED} (unscored.tsv has all)"
    return Table(title, columns, rows)
