"""Comparisons of training sets that differ in one respect: split, share of the people, or drivers.

They name the measurements that stand side by side; the protocols page formats them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from deepfakemnist.config.base import MIXED
from deepfakemnist.config.training_sets import FOLDS, PAPER, PERSON, TrainingSet, parse_training_set
from deepfakemnist.report.paper import paper_accuracy

Cells = dict[str, str]

_LABELS = ("detector", "trained on", "tested on")
#: Level and metric of the tables, and their names.
_MEASURES = (("frame", "balanced_accuracy", "balanced accuracy, %"), ("video", "auc", "video-level AUC, %"))


@dataclass(frozen=True)
class Measured:
    """Measurement of a training set: its rows of metrics.tsv, one per seed with mean and sd, and the paper's result."""

    rows: Sequence[Cells]
    paper: str | None = None


@dataclass(frozen=True)
class Comparison:
    """Table of one metric.

    Args:
        title: title of the table.
        columns: names of all columns, labels first.
        metric: column of metrics.tsv.
        rows: labels, and a measurement or a text per further column.
    """

    title: str
    columns: Sequence[str]
    metric: str
    rows: Sequence[tuple[Sequence[str], Sequence[Measured | str]]]


class _Results:
    """Rows of metrics.tsv on the test split by detector, training set, quality and level."""

    def __init__(self, whole: Sequence[Cells]) -> None:
        self._rows: dict[tuple[str, TrainingSet, str, str], list[Cells]] = defaultdict(list)
        for row in whole:
            self._rows[row["detector"], parse_training_set(row["trained_on"]), row["tested_on"], row["level"]].append(
                row
            )

    @property
    def sets(self) -> set[TrainingSet]:
        return {chosen for _, chosen, _, _ in self._rows}

    def runs(self) -> Iterator[tuple[str, str, str]]:
        """Yield detector, training quality and test quality: the same quality, or each for mixed; raw first."""
        found = {(detector, chosen.quality, tested) for detector, chosen, tested, _ in self._rows}
        for run in sorted(found, key=lambda run: (run[0], run[1] != "raw", run[1], run[2] != "raw", run[2])):
            if run[1] in (run[2], MIXED):
                yield run

    def of(self, detector: str, chosen: TrainingSet, tested: str, level: str) -> list[Cells]:
        return self._rows.get((detector, chosen, tested, level), [])


def compare_splits(whole: Sequence[Cells]) -> list[Comparison]:
    """Compare the split by person, the paper's by video, and all folds by person, with every video tested once."""
    results = _Results(whole)
    tables = []
    for level, metric, title in _MEASURES:
        rows: list[tuple[Sequence[str], Sequence[Measured | str]]] = []
        for run in results.runs():
            detector, quality, tested = run
            person, paper, pooled = (
                results.of(detector, TrainingSet(quality, split=split), tested, level)
                for split in (PERSON, PAPER, FOLDS)
            )
            if not (paper or pooled):
                continue
            published = paper_accuracy(detector, quality, tested) if metric == "balanced_accuracy" else None
            folds = [
                row
                for chosen in results.sets
                if chosen.fold is not None and chosen == TrainingSet(quality, split=chosen.split)
                for row in results.of(detector, chosen, tested, level)
            ]
            measured = (Measured(person), Measured(paper, published), Measured(pooled), _mean_of(folds, metric))
            rows.append((run, measured))
        columns = (*_LABELS, "by person", "by video", "all folds", "mean of folds")
        tables.append(
            Comparison(f"11. Split by person, by video as in the paper, and by fold: {title}", columns, metric, rows)
        )
    return tables


def compare_sizes(whole: Sequence[Cells]) -> list[Comparison]:
    """Compare shares of the people in train; val and test are the same."""
    results = _Results(whole)
    sizes = [chosen for chosen in results.sets if chosen == TrainingSet(chosen.quality, people=chosen.people)]
    smaller = {chosen.quality for chosen in sizes if chosen.people < 100}
    shares = sorted({chosen.people for chosen in sizes if chosen.quality in smaller})
    tables = []
    for level, metric, title in _MEASURES:
        rows = [
            (run, [Measured(results.of(run[0], TrainingSet(run[1], people=n), run[2], level)) for n in shares])
            for run in results.runs()
            if run[1] in smaller
        ]
        columns = (*_LABELS, *(f"{share} % of people" for share in shares))
        tables.append(Comparison(f"12. Training-set size: {title}", columns, metric, rows))
    return tables


def compare_drivers(whole: Sequence[Cells]) -> list[Comparison]:
    """Compare training and test on any drivers with those on different ones; none without training sets by driver."""
    results = _Results(whole)
    apart = {chosen.quality for chosen in results.sets if chosen == TrainingSet(chosen.quality, by_driver=True)}
    rows = [
        (
            run,
            [Measured(results.of(run[0], TrainingSet(run[1], by_driver=by), run[2], "frame")) for by in (False, True)],
        )
        for run in results.runs()
        if run[1] in apart
    ]
    columns = (*_LABELS, "all drivers", "test drivers unseen in training")
    return (
        [Comparison("6. Training on other drivers: balanced accuracy, %", columns, "balanced_accuracy", rows)]
        if rows
        else []
    )


def _mean_of(rows: Sequence[Cells], metric: str) -> str:
    """Return mean ± standard deviation over folds and their seeds, percent; a dash for fewer than two values."""
    values = [100 * float(row[metric]) for row in rows if row["seed"].isdigit() and row[metric]]
    return f"{mean(values):.1f} ± {stdev(values):.1f}" if len(values) > 1 else "–"
