"""Protocols page: evaluation protocols of the paper and of the field as tables, next to the paper's results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from deepfakemnist.config.base import MIXED
from deepfakemnist.config.training_sets import PAPER, parse_training_set
from deepfakemnist.report.action_tables import action_accuracy, action_training
from deepfakemnist.report.compact_tables import compact
from deepfakemnist.report.condition_tables import animator_tables, dataset_tables, group_tables, perturbation_tables
from deepfakemnist.report.few_people import too_few_people
from deepfakemnist.report.measurement_cells import (
    RUN,
    SIZES,
    Cells,
    RowIndex,
    cell,
    chance,
    qualities_of,
    sizes,
    sizes_in_order,
)
from deepfakemnist.report.pages import write_page
from deepfakemnist.report.paper import paper_accuracy
from deepfakemnist.report.parts import Chart, Lead, Part, Table
from deepfakemnist.report.robustness_chart import robustness_chart
from deepfakemnist.report.set_comparisons import Comparison, compare_drivers, compare_sizes, compare_splits
from deepfakemnist.tables.tsv import read_tsv

_LEAD = Lead(
    shows="The protocols of the paper and of the field, in percent on the test split; frame level unless a title "
    "says video level.",
    reading="In brackets: the 95 % interval, or the number of people where they are too few for one; after ±: the "
    "standard deviation over training seeds; after a slash: the paper's result (arXiv 2108.07949), ≈ where read off "
    "a chart. Protocols 6 to 10 show training sets with all actions and people; evaluation/ holds all. Videos and "
    "people are a range, or a list in the order of the columns, where columns differ. A dash: not measured.",
    limits="The paper's classes are 1:1, so that its accuracy is a balanced accuracy, and its dataset has 20,000 "
    "videos of its own: compare only with a run of that size. {split}",
)
_SPLIT_BY_PERSON = (
    "The paper split by video, so one person may be in its training and its test split; here the splits are by person, "
    "except for training sets named split-paper."
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
    notices: Sequence[str] = (),
) -> None:
    """Write one or more tables or charts for every protocol.

    Args:
        metrics, actions, groups: tables of the evaluation stage; groups may be None.
        others: metrics on other datasets and on perturbed frames.
        protocols: names in config.detectors.PROTOCOLS, in page order.
        path: page to write.
        published_split: the clips keep the split they were published with; otherwise it is by person.
        notices: sentences above all else.
    """
    results = Results(
        _test_rows([metrics]), _test_rows([actions]), _test_rows([groups] if groups else []), _test_rows(others)
    )
    parts = [_compact(part) for protocol in protocols for part in _PROTOCOLS[protocol](results)]
    limits = _LEAD.limits.format(split=_SPLIT_PUBLISHED if published_split else _SPLIT_BY_PERSON)
    few = too_few_people(results.whole)
    write_page(path, "Evaluation protocols", replace(_LEAD, limits=limits), parts, [*notices, few])


def _compact(part: Part) -> Part:
    if not isinstance(part, Table):
        return part
    if not part.rows:
        return replace(part, note="Not part of this run, or no clip of test to measure it on.")
    return compact(part, footer=int(bool(part.rows) and part.rows[-1][0] == "chance"))


def _quality(results: Results) -> list[Table]:
    """Within-quality evaluation: detectors trained and tested on the same quality."""
    detectors, qualities = _detectors(results.whole), qualities_of(results.whole)
    tables = []
    measures = (
        # Plain accuracy is on no page of comparisons: with more fakes than reals it flatters a constant answer.
        ("balanced accuracy, %", "frame", "balanced_accuracy"),
        ("video-level AUC, %", "video", "auc"),
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
            f"2. Cross-quality generalisation of {detector}: balanced accuracy, %, trained on rows, tested on columns",
            results,
            detector,
            qualities,
        )
        for detector in _detectors(results.whole)
        if (qualities := [name for name in qualities_of(results.whole) if name in _trained(results.whole)])
    ]


def _mixed(results: Results) -> list[Table]:
    """Mixed-quality training: trained on all qualities together."""
    qualities = qualities_of(results.whole)
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
    return [Table("3. Mixed-quality training: balanced accuracy, %", ("detector", *qualities, *SIZES), rows)]


def _grid(title: str, results: Results, detector: str, qualities: Sequence[str]) -> Table:
    rows = []
    for trained in qualities:
        cells, measured = [], []
        for tested in qualities_of(results.whole):
            found = results.by_run.find("frame", detector=detector, trained_on=trained, tested_on=tested)
            cells.append(cell(found, "balanced_accuracy", paper_accuracy(detector, trained, tested)))
            measured.append(found)
        rows.append([trained, *cells, *sizes(measured)])
    rows.append(chance(1, len(qualities_of(results.whole))))
    return Table(title, ("trained on", *qualities_of(results.whole), *SIZES), rows)


def _by_either_split(protocol: Callable[[Results], Sequence[Part]]) -> Callable[[Results], list[Part]]:
    """Return a protocol with its parts, and those of the training sets by the paper's split, if there are any."""

    def parts(results: Results) -> list[Part]:
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
        named = [
            replace(part, title=f"{part.title} (split by video)")
            for part in found
            if isinstance(part, Table | Chart) and part.rows
        ]
        return [*protocol(results), *named]

    return parts


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


_PROTOCOLS: dict[str, Callable[[Results], Sequence[Part]]] = {
    "quality": _by_either_split(_quality),
    "cross_quality": _by_either_split(_cross_quality),
    "mixed": _by_either_split(_mixed),
    "train_on_action": _by_either_split(lambda results: action_training(results.by_run, results.by_action)),
    "per_action": _by_either_split(lambda results: action_accuracy(results.by_run, results.by_action)),
    "drivers": _drivers,
    "datasets": lambda results: dataset_tables(
        "7, 8. Cross-animator and cross-dataset generalisation", results.whole, results.others
    ),
    "robustness": lambda results: [
        *robustness_chart("9. Robustness", results.whole, results.others),
        *perturbation_tables("9. Robustness", results.whole, results.others),
    ],
    "subgroups": lambda results: group_tables(
        "10. Subgroups", results.groups, {row["group"] for row in results.groups} - _DRIVER_GROUPS
    ),
    "splits": lambda results: _compared(compare_splits(results.whole)),
    "training_size": lambda results: _compared(compare_sizes(results.whole)),
    "animators": lambda results: animator_tables("13. Unseen animators", results.groups, _trained(results.whole)),
}


def _test_rows(paths: Iterable[Path]) -> list[Cells]:
    return [row for path in paths for row in read_tsv(path) if row["split"] == "test"]


def _detectors(rows: Sequence[Cells]) -> list[str]:
    return sorted({row["detector"] for row in rows})


def _trained(rows: Sequence[Cells]) -> list[str]:
    return list(dict.fromkeys(row["trained_on"] for row in rows))
