"""Protocols page: evaluation protocols of the paper and of the field as tables, next to the paper's results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from deepfakemnist.config.base import ACTIONS, MIXED
from deepfakemnist.config.training_sets import PAPER, TrainingSet, parse_training_set
from deepfakemnist.report.condition_tables import animator_tables, dataset_tables, group_tables, perturbation_tables
from deepfakemnist.report.measurement_cells import (
    NO_SIZES,
    RUN,
    SIZES,
    Cells,
    RowIndex,
    cell,
    chance,
    sizes,
    sizes_in_order,
)
from deepfakemnist.report.pages import write_page
from deepfakemnist.report.paper import ORIGINAL, paper_accuracy, paper_action_accuracy
from deepfakemnist.report.parts import Table
from deepfakemnist.report.set_comparisons import Comparison, compare_drivers, compare_sizes, compare_splits
from deepfakemnist.tables.tsv import read_tsv

_INTRO = (
    "Percent, on the test split; frame level unless a title says video level. In brackets: the 95 % interval, which "
    "holds for what the last column says, or the number of people where they are too few for one. ±: the standard "
    "deviation over training seeds, where there are several; the interval is that of their mean. After a slash: the "
    "paper's result (arXiv 2108.07949), on its own 20,000 videos and comparable only with a run of that size; ≈ "
    "where it was read off a chart. The paper has as many fakes as reals, so its accuracy is a balanced accuracy, "
    "and stands beside ours, whatever our ratio. {split} Protocols 6 to 10 show the training sets with all actions and "
    "people; the tables in evaluation/ hold all. Unseen: of an animator whose fakes the detector was trained without. "
    "Videos and people are a range, or a list in the order of the columns, where columns differ. A dash: not measured."
)
_SPLIT_BY_PERSON = (
    "The paper split by video, so one person may be in its training and its test split; here the splits are by person, "
    "but for training sets named split-paper."
)
#: Groups of protocol 6; all others are subgroups.
_DRIVER_GROUPS = frozenset({"driver", "driver_person"})
_SPLIT_PUBLISHED = (
    "The paper split by video, so one person may be in its training and its test split; here the split is the one that "
    "the clips were published with."
)


@dataclass(frozen=True)
class Results:
    """Rows of the evaluation tables on the test split.

    Args:
        whole: rows of metrics.tsv.
        actions: rows of actions.tsv.
        groups: rows of groups.tsv.
        others: metrics on other datasets and on perturbed frames; tested_on is ``name:quality``, or
            ``quality+perturbation`` followed by its level.
    """

    whole: list[Cells]
    actions: list[Cells]
    groups: list[Cells]
    others: list[Cells]

    @cached_property
    def by_run(self) -> RowIndex:
        """Rows of ``whole`` by detector, training set and test quality."""
        return RowIndex(self.whole, RUN)

    @cached_property
    def by_action(self) -> RowIndex:
        """Rows of ``actions`` by the same and by action."""
        return RowIndex(self.actions, (*RUN, "action"))


def write_protocols_page(
    metrics: Path,
    actions: Path,
    groups: Path | None,
    others: Sequence[Path],
    protocols: Iterable[str],
    path: Path,
    published_split: bool = False,
) -> None:
    """Write one or more tables for every protocol.

    Args:
        metrics, actions, groups: tables of the evaluation stage; groups may be None.
        others: metrics on other datasets and on perturbed frames.
        protocols: names in config.detectors.PROTOCOLS, in page order.
        path: page to write.
        published_split: the clips keep the split they were published with; otherwise it is by person.
    """
    results = Results(
        _test_rows([metrics]), _test_rows([actions]), _test_rows([groups] if groups else []), _test_rows(others)
    )
    tables = [table for protocol in protocols for table in _PROTOCOLS[protocol](results)]
    intro = _INTRO.format(split=_SPLIT_PUBLISHED if published_split else _SPLIT_BY_PERSON)
    write_page(path, "Evaluation protocols", intro, tables)


def _quality(results: Results) -> list[Table]:
    """Within-quality evaluation: detectors trained and tested on the same quality."""
    detectors, qualities = _detectors(results.whole), _qualities(results.whole)
    tables = []
    measures = (
        # Plain accuracy is on no page of comparisons: with more fakes than reals it flatters a constant answer.
        ("balanced accuracy", "frame", "balanced_accuracy"),
        ("video-level AUC", "video", "auc"),
    )
    for title, level, name in measures:
        rows = []
        for detector in detectors:
            cells, measured = [], []
            for quality in qualities:
                paper = paper_accuracy(detector, quality, quality) if name == "balanced_accuracy" else None
                found = results.by_run.find(level, detector=detector, trained_on=quality, tested_on=quality)
                cells.append(cell(found, name, paper))
                measured.append(found)
            rows.append([detector, *cells, *sizes(measured)])
        rows.append(chance(1, len(qualities)))
        tables.append(Table(f"1. Within-quality evaluation: {title}", ("detector", *qualities, *SIZES), rows))
    return tables


def _cross_quality(results: Results) -> list[Table]:
    """Cross-quality generalisation: training quality × test quality, one table per detector."""
    return [
        _grid(
            f"2. Cross-quality generalisation: balanced accuracy of {detector}, trained on (rows) × tested on",
            results,
            detector,
            qualities,
        )
        for detector in _detectors(results.whole)
        if (qualities := [name for name in _qualities(results.whole) if name in _trained(results.whole)])
    ]


def _mixed(results: Results) -> list[Table]:
    """Mixed-quality training: trained on all qualities together."""
    qualities = _qualities(results.whole)
    rows = []
    for detector in _detectors(results.whole):
        found = {
            quality: results.by_run.find("frame", detector=detector, trained_on=MIXED, tested_on=quality)
            for quality in qualities
        }
        if any(found.values()):
            papers = {quality: paper_accuracy(detector, MIXED, quality) for quality in qualities}
            cells = [cell(found[name], "balanced_accuracy", papers[name]) for name in qualities]
            rows.append([detector, *cells, *sizes(found.values())])
    if rows:
        rows.append(chance(1, len(qualities)))
    return [Table("3. Mixed-quality training: balanced accuracy", ("detector", *qualities, *SIZES), rows)]


def _train_on_action(results: Results) -> list[Table]:
    """Cross-action generalisation: trained on the fakes of one action, or of all but one; tested on each."""
    tables = []
    actions = _actions(results)
    for detector in _detectors(results.whole):
        for kind, title in (("only", "Single-action training"), ("without", "Leave-one-action-out")):
            rows = []
            for name in _trained(results.whole):
                chosen = parse_training_set(name)
                action = getattr(chosen, kind)
                if action is None or chosen != TrainingSet(chosen.quality, chosen.only, chosen.without):
                    continue
                tested = _qualities(results.whole) if chosen.quality == MIXED else [chosen.quality]
                for quality in tested:
                    where = {"detector": detector, "trained_on": name, "tested_on": quality}
                    whole = results.by_run.find("frame", **where)
                    if not whole:
                        continue
                    found = [results.by_action.find("frame", **where, action=other) for other in actions]
                    each = [cell(one, "balanced_accuracy") for one in found]
                    paper = paper_accuracy(detector, name, quality)
                    measured = [cell(whole, "balanced_accuracy", paper), *each]
                    rows.append([action, quality, *measured, *sizes([whole, *found])])
            if rows:
                rows.append(chance(2, 1 + len(actions)))
                columns = ("action", "quality", "all actions", *actions, *SIZES)
                tables.append(Table(f"4. {title}: balanced accuracy of {detector} per test action", columns, rows))
    return tables or [Table("4. Single-action training and leave-one-action-out", ("action",), [])]


def _per_action(results: Results) -> list[Table]:
    """Per-action accuracy: accuracy on each action's fakes and on the reals, at each quality.

    An action without test fakes keeps its column, filled with dashes: few accepted fakes are a result too.
    """
    actions = [*ACTIONS, *(action for action in _actions(results) if action not in ACTIONS)]
    rows = []
    for detector in _detectors(results.whole):
        for quality in _qualities(results.whole):
            where = {"detector": detector, "trained_on": quality, "tested_on": quality}
            if not (whole := results.by_run.find("frame", **where)):
                continue
            found = [results.by_action.find("frame", **where, action=action) for action in actions]
            each = [cell(one, "fake_accuracy") for one in found]
            rows.append([detector, quality, *each, cell(whole, "real_accuracy"), *sizes([whole, *found])])
    for quality in _qualities(results.whole):
        papers = [paper_action_accuracy(quality, action) for action in (*actions, ORIGINAL)]
        if any(value is not None for value in papers):
            rows.append(["paper", quality, *(value or "–" for value in papers), *NO_SIZES])
    # No class ratio enters these figures, but a constant answer wins columns: they are read with that of the reals.
    rows.append(["always “fake”", "", *["100.0"] * len(actions), "0.0", *NO_SIZES])
    return [Table("5. Per-action accuracy", ("detector", "quality", *actions, "reals", *SIZES), rows)]


def _grid(title: str, results: Results, detector: str, qualities: Sequence[str]) -> Table:
    rows = []
    for trained in qualities:
        cells, measured = [], []
        for tested in _qualities(results.whole):
            found = results.by_run.find("frame", detector=detector, trained_on=trained, tested_on=tested)
            cells.append(cell(found, "balanced_accuracy", paper_accuracy(detector, trained, tested)))
            measured.append(found)
        rows.append([trained, *cells, *sizes(measured)])
    rows.append(chance(1, len(_qualities(results.whole))))
    return Table(title, ("trained on", *_qualities(results.whole), *SIZES), rows)


def _by_either_split(protocol: Callable[[Results], list[Table]]) -> Callable[[Results], list[Table]]:
    """Return a protocol with its tables, and those of the training sets by the paper's split, if there are any."""

    def tables(results: Results) -> list[Table]:
        by_paper = {name for name in _trained(results.whole) if parse_training_set(name).split == PAPER}
        whole, actions = (
            [
                {**row, "trained_on": row["trained_on"].removesuffix(f"-split-{PAPER}")}
                for row in rows
                if row["trained_on"] in by_paper
            ]
            for rows in (results.whole, results.actions)
        )
        found = protocol(replace(results, whole=whole, actions=actions)) if whole else []
        named = [replace(table, title=f"{table.title} (split by video)") for table in found if table.rows]
        return [*protocol(results), *named]

    return tables


def _drivers(results: Results) -> list[Table]:
    """Test fakes of seen and of unseen drivers, and training on other drivers than those of the test."""
    return [
        *group_tables("6. Seen and unseen drivers", results.groups, _DRIVER_GROUPS),
        *_compared(compare_drivers(results.whole)),
    ]


def _compared(comparisons: Iterable[Comparison]) -> list[Table]:
    """Return comparisons of training sets as tables, with the chance level."""
    tables = []
    for one in comparisons:
        rows = []
        for labels, measured in one.rows:
            cells = [text if isinstance(text, str) else cell(text.rows, one.metric, text.paper) for text in measured]
            rows.append(
                [*labels, *cells, *sizes_in_order([text.rows for text in measured if not isinstance(text, str)])]
            )
        if rows:
            labels, measured = one.rows[0]
            rows.append(chance(len(labels), len(measured)))
        tables.append(Table(one.title, (*one.columns, *SIZES), rows))
    return tables


_PROTOCOLS: dict[str, Callable[[Results], list[Table]]] = {
    "quality": _by_either_split(_quality),
    "cross_quality": _by_either_split(_cross_quality),
    "mixed": _by_either_split(_mixed),
    "train_on_action": _by_either_split(_train_on_action),
    "per_action": _by_either_split(_per_action),
    "drivers": _drivers,
    "datasets": lambda results: dataset_tables(
        "7, 8. Cross-animator and cross-dataset generalisation", results.whole, results.others
    ),
    "robustness": lambda results: perturbation_tables("9. Robustness", results.whole, results.others),
    "subgroups": lambda results: group_tables(
        "10. Subgroups", results.groups, {row["group"] for row in results.groups} - _DRIVER_GROUPS
    ),
    "splits": lambda results: _compared(compare_splits(results.whole)),
    "animators": lambda results: animator_tables("13. Unseen animators", results.groups),
    "training_size": lambda results: _compared(compare_sizes(results.whole)),
}


def _test_rows(paths: Iterable[Path]) -> list[Cells]:
    return [row for path in paths for row in read_tsv(path) if row["split"] == "test"]


def _detectors(rows: Sequence[Cells]) -> list[str]:
    return sorted({row["detector"] for row in rows})


def _trained(rows: Sequence[Cells]) -> list[str]:
    return list(dict.fromkeys(row["trained_on"] for row in rows))


def _qualities(rows: Sequence[Cells]) -> list[str]:
    """Return the test qualities, raw first."""
    return sorted({row["tested_on"] for row in rows}, key=lambda name: (name != "raw", name))


def _actions(results: Results) -> list[str]:
    return sorted({row["action"] for row in results.actions})
