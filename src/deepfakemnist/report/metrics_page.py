"""Report page of detector metrics: charts of the results, then tables over all seeds, comparisons, unscored clips."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from deepfakemnist.evaluation.clusters import MIN_CLUSTERS
from deepfakemnist.report.compact_tables import compact
from deepfakemnist.report.comparison_tables import comparison_tables
from deepfakemnist.report.curve_charts import curve_charts
from deepfakemnist.report.few_people import too_few_people
from deepfakemnist.report.measurement_cells import Cells, as_tested, cell, over_seeds
from deepfakemnist.report.metric_charts import accuracy_chart, cross_quality_chart
from deepfakemnist.report.pages import render, write_page
from deepfakemnist.report.paper import paper_accuracy
from deepfakemnist.report.parts import Block, Lead, Part, Table
from deepfakemnist.report.rounding import TOO_FEW, USUAL
from deepfakemnist.report.training_charts import training_chart
from deepfakemnist.tables.tsv import read_tsv

_KEYS = {"detector": "detector", "trained_on": "trained on", "tested_on": "tested on"}
_MAIN = {"balanced_accuracy": "balanced accuracy %", "auc": "AUC %"}
_RATES = {
    "accuracy": "accuracy %",
    "eer": "EER %",
    "average_precision": "AP %",
}
_AT_FIXED_FPR = {
    "tpr_at_fpr_1": "TPR % at FPR 1 %",
    "tpr_at_fpr_5": "TPR % at FPR 5 %",
}
_ERRORS = {
    "brier": "Brier score %",
    "calibration_error": "ECE %",
    "apcer": "APCER %",
    "bpcer": "BPCER %",
    "acer": "ACER %",
}
_SIZES = {
    "n_videos": "videos",
    "n_people": "people",
    "n_without_frames": "unscored clips",
    "generalises_to": "interval for",
}
_MERGEABLE = ("level", "seeds", "seed", *_SIZES.values())
#: Levels of the main tables; a video's score is the mean over its frames.
_LEVELS = ("frame", "video")
_ERRORS_NOTE = (
    "ECE: expected calibration error. APCER: share of missed fakes of the worst action; BPCER: share of reals "
    "classified as fake; ACER: their mean (ISO/IEC 30107-3). No interval is computed for these."
)
_JOINED_NOTE = "video_median: median P(fake) of a video's frames; video_top: mean of the highest few."
_NO_CHART = "No detector was trained and tested on all test clips of one quality, so that there is nothing to draw."
_LEAD = Lead(
    shows="How well each detector tells real from fake videos, by the quality it was trained on and the one it was "
    "tested on. Balanced accuracy is the mean of the shares of reals and of fakes classified correctly; AUC is the "
    "probability that a fake scores above a real. Guessing gives 50 % in both, whatever the class ratio.",
    reading="In brackets: 95 % intervals, clustered by person, and by driver where people share drivers; after ±: the "
    "standard deviation over training seeds. A video that could not be scored counts as an error.",
    limits="The figures hold for people, animators and encoders like these, not for deepfakes at large; the paper's "
    "are frame accuracies on its own 20,000 videos, comparable only with a run of that size.",
)
_OTHER_PAGES = (
    ("actions.html", "By action", "accuracy on the fakes of each action, beside the paper's"),
    (
        "protocols.html",
        "Protocols",
        "unseen qualities, actions, drivers, animators, datasets and perturbations; subgroups; splits",
    ),
)


class MetricsTables(NamedTuple):
    """Tables of the evaluation stage and histories of trainings; None for those that are not shown."""

    metrics: Path
    pairs: Path
    unscored: Path | None = None
    calibration: Path | None = None
    curves: Path | None = None
    histories: Sequence[Path] = ()


def write_metrics_page(tables: MetricsTables, path: Path, notices: Sequence[str] = ()) -> None:
    """Show all metrics of every detector, training set and test quality, and pairwise comparisons of detectors.

    Args:
        tables: tables of the evaluation stage.
        path: page to write.
        notices: sentences above all else.
    """
    rows = read_tsv(tables.metrics)
    of: dict[tuple[str, str], dict[tuple[str, ...], list[Cells]]] = {}
    for row in sorted(rows, key=as_tested):
        by_key = of.setdefault((row["split"], row["level"]), {})
        by_key.setdefault(tuple(row[name] for name in _KEYS), []).append(row)
    frames, videos = (list(of.get(("test", level), {}).values()) for level in _LEVELS)
    parts: list[Part] = [
        Block("", render("page_list.html.j2", pages=_OTHER_PAGES)),
        *_within_quality(frames),
        *cross_quality_chart(frames, videos),
        *curve_charts(read_tsv(tables.curves) if tables.curves else [], _people(videos)),
        *training_chart(tables.histories),
        _main("Test split, by frame: balanced accuracy and AUC", frames),
        _main("Test split, by video: balanced accuracy and AUC", videos),
        *comparison_tables(read_tsv(tables.pairs)),
        _further("Test split: accuracy, equal error rate and average precision", [*frames, *videos], _RATES),
        _further("Test split: true positive rate at a fixed false positive rate", [*frames, *videos], _AT_FIXED_FPR),
        _further(
            "Test split: calibration and presentation attack error rates", [*frames, *videos], _ERRORS, _ERRORS_NOTE
        ),
    ]
    if tables.calibration is not None:
        parts.append(_calibration(sorted(read_tsv(tables.calibration), key=as_tested)))
    joined = [
        found
        for (split, level), by_key in of.items()
        if split == "test" and level not in _LEVELS
        for found in by_key.values()
    ]
    parts.append(_further("Test split: other ways to join the frames of a video", joined, _MAIN, _JOINED_NOTE))
    if any(len(found) > 1 for found in (*frames, *videos)):
        parts.append(_every_seed([*frames, *videos]))
    chosen = [found for level in _LEVELS for found in of.get(("val", level), {}).values()]
    parts.append(_further("Validation split (not a test: epochs and thresholds were chosen on it)", chosen, _MAIN))
    if tables.unscored is not None:
        parts.append(_unscored(read_tsv(tables.unscored)))
    write_page(path, "Detectors", _LEAD, parts, [*notices, too_few_people(rows)])


def _within_quality(measurements: Sequence[Sequence[Cells]]) -> Sequence[Part]:
    charts = accuracy_chart(measurements)
    return charts if charts else [Table("Balanced accuracy at each quality", (), [], _NO_CHART)]


def _main(title: str, measurements: Sequence[Sequence[Cells]]) -> Table:
    rows = []
    for found in measurements:
        row = _row(found)
        # The paper's figures are of frames, as far as can be told.
        paper = (
            paper_accuracy(row["detector"], row["trained_on"], row["tested_on"]) if row["level"] == "frame" else None
        )
        values = [_value(found, "balanced_accuracy"), paper or "", _value(found, "auc")]
        rows.append([*(row[name] for name in _KEYS), *values, _seeds(found), *(row[name] for name in _SIZES)])
    columns = (*_KEYS.values(), _MAIN["balanced_accuracy"], "paper %", _MAIN["auc"], "seeds", *_SIZES.values())
    return compact(Table(title, columns, rows), (*_MERGEABLE, "paper %"))


def _further(title: str, measurements: Sequence[Sequence[Cells]], metrics: dict[str, str], note: str = "") -> Table:
    rows = []
    for found in measurements:
        row = _row(found)
        values = [_value(found, name) for name in metrics]
        rows.append([*(row[name] for name in (*_KEYS, "level")), *values, *(row[name] for name in _SIZES)])
    columns = (*_KEYS.values(), "level", *metrics.values(), *_SIZES.values())
    return compact(Table(title, columns, rows, note), _MERGEABLE)


def _every_seed(measurements: Sequence[Sequence[Cells]]) -> Table:
    rows = [
        [
            *(row[name] for name in (*_KEYS, "level", "seed")),
            *(_value([row], name) for name in _MAIN),
            *(row[name] for name in ("n_videos", "n_people", "generalises_to")),
        ]
        for found in measurements
        for row in found
        if row["seed"] not in ("mean", "sd")
    ]
    columns = (*_KEYS.values(), "level", "seed", *_MAIN.values(), "videos", "people", "interval for")
    return compact(Table("Test split: every training seed", columns, rows), _MERGEABLE)


def _value(found: Sequence[Cells], name: str) -> str:
    # That people are too few is said above the page and in a column.
    return cell(found, name, with_people=False)


def _row(found: Sequence[Cells]) -> Cells:
    row = over_seeds(found)
    assert row is not None  # a measurement has a row
    return row


def _people(measurements: Sequence[Sequence[Cells]]) -> str:
    numbers = sorted({int(row["n_people"]) for found in measurements for row in found if row["n_people"]})
    return "–".join(map(str, dict.fromkeys((numbers[0], numbers[-1])))) if numbers else "?"


def _seeds(found: Sequence[Cells]) -> str:
    return str(sum(row["seed"] not in ("mean", "sd") for row in found))


def _calibration(rows: Sequence[Cells]) -> Table:
    measures = {
        "calibration_error": "ECE %",
        "calibration_error_scaled": "ECE %, scaled",
        "brier": "Brier score %",
        "brier_scaled": "Brier score %, scaled",
    }
    sizes = {
        "n_val_videos": "val videos",
        "n_val_people": "val people",
        "n_videos": "test videos",
        "n_people": "test people",
    }
    shown = [
        [
            *(row[name] for name in (*_KEYS, "level", "seed")),
            f"{float(row['temperature']):.2g}" if row["temperature"] else "–",
            *(f"{100 * float(row[name]):.{_digits(row)}f}" if row[name] else "–" for name in measures),
            *(row[name] for name in sizes),
        ]
        for row in rows
    ]
    columns = (*_KEYS.values(), "level", "seed", "temperature", *measures.values(), *sizes.values())
    title = "Calibration on test, before and after scaling by a temperature chosen on val"
    return compact(Table(title, columns, shown), ("level", "seed", *sizes.values()))


def _digits(row: Cells) -> int:
    """Return the decimals of a percentage without interval: none of so few people that intervals have none either."""
    return TOO_FEW if int(row["n_people"]) < MIN_CLUSTERS else USUAL


def _unscored(clips: Sequence[Cells]) -> Table:
    names = ("split", "quality", "label", "action", "person_id", "video_id", "runs")
    columns = ("split", "quality", "class", "action", "person", "video", "runs")
    rows = [
        [{"0": "real", "1": "fake"}.get(row[name], row[name]) if name == "label" else row[name] for name in names]
        for row in clips
    ]
    return Table(f"Clips that could not be scored: {len(clips)}", columns, rows)
