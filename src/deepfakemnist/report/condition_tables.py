"""Tables of protocols that vary the test clips alone: groups of them, other datasets, perturbed frames.

They list training sets with all actions and people. What is left out, single actions and folds for example, is in the
evaluation tables; here it would hide the comparison, and seen drivers of one action differ from unseen ones in action.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from deepfakemnist.config.base import MIXED
from deepfakemnist.config.perturbations import LEVELS, perturbed_name
from deepfakemnist.config.training_sets import parse_training_set
from deepfakemnist.report.measurement_cells import (
    RUN,
    SIZES,
    Cells,
    RowIndex,
    as_tested,
    cell,
    chance,
    sizes,
    sizes_in_order,
)
from deepfakemnist.report.parts import Table

#: Groups of groups.tsv, as titles name them.
_GROUPS = {
    "driver": "by driving clip",
    "driver_person": "by person in the driving clip",
    "animator": "by animator",
    "face_px": "by face size, terciles of the test sources",
    "sharpness": "by sharpness, terciles of the test sources",
    "brightness": "by brightness, terciles of the test sources",
}
_VALUES = ("seen", "unseen", "low", "middle", "high")
#: Perturbations, and their levels in column titles.
PERTURBATIONS = {
    "jpeg": ("JPEG", "quality {:g}"),
    "resize": ("resizing", "scale {:g}"),
    "blur": ("blur", "σ {:g} pixels"),
    "noise": ("noise", "σ {:g} grey levels"),
    "h264": ("H.264", "crf {:g}"),
}
_MEASURES = (("frame", "balanced_accuracy", "balanced accuracy, %"), ("video", "auc", "video-level AUC, %"))
_AT_VIDEO_LEVEL = (("balanced_accuracy", "balanced accuracy, %"), ("auc", "AUC, %"))
_LABELS = ("detector", "trained on", "tested on")


def group_tables(title: str, groups: Sequence[Cells], kinds: Collection[str]) -> list[Table]:
    """Return a table per kind of group and metric with a column per value, at video level, of detectors as trained.

    Args:
        title: number and name of the protocol.
        groups: rows of groups.tsv.
        kinds: values of the column ``group``.
    """
    rows = [row for row in groups if is_whole(row["trained_on"]) and _is_as_trained(row)]
    tables = []
    for kind in dict.fromkeys(row["group"] for row in rows if row["group"] in kinds):
        of_kind = [row for row in rows if row["group"] == kind]
        by_value = RowIndex(of_kind, (*RUN, "value"))
        found = {row["value"] for row in of_kind}
        values = [*(value for value in _VALUES if value in found), *sorted(found.difference(_VALUES))]
        for metric, what in _AT_VIDEO_LEVEL:
            shown = []
            for key in _runs(of_kind):
                detector, trained_on, tested_on = key
                run = {"detector": detector, "trained_on": trained_on, "tested_on": tested_on}
                measured = [by_value.find("video", **run, value=value) for value in values]
                shown.append([*key, *(cell(one, metric) for one in measured), *sizes_in_order(measured)])
            shown.append(chance(len(_LABELS), len(values)))
            name = f"{title} {_GROUPS.get(kind, kind)}: {what} (video level)"
            tables.append(Table(name, (*_LABELS, *values, *SIZES), shown))
    return tables or [Table(f"{title} (video level)", _LABELS, [])]


def animator_tables(title: str, groups: Sequence[Cells], trained: Sequence[str]) -> list[Table]:
    """Return a table per metric: fakes of each animator, of detectors trained with and without it, at video level.

    Training sets are those that name an animator, and beside them those of their quality with all. A column is one
    animator's test fakes against all test reals; that of an animator without test fakes has dashes.

    Args:
        title: number and name of the protocol.
        groups: rows of groups.tsv.
        trained: names of all training sets.
    """
    rows = [row for row in groups if row["group"] == "animator" and _is_as_trained(row)]
    chosen = {name: parse_training_set(name) for name in dict.fromkeys(row["trained_on"] for row in rows)}
    apart = {(one.quality, one.split) for one in chosen.values() if one.by_animator}
    named = (name for one in map(parse_training_set, trained) for name in (one.only_animator, one.without_animator))
    animators = sorted({*(row["value"] for row in rows), *(name for name in named if name)})
    by_value = RowIndex(rows, (*RUN, "value"))
    tables = []
    for metric, what in _AT_VIDEO_LEVEL:
        shown = []
        for detector, trained_on, tested_on in _runs(rows):
            one = chosen[trained_on]
            if (one.quality, one.split) not in apart or one.people < 100 or one.only or one.without:
                continue
            seen = {one.only_animator} if one.only_animator else {*animators} - {one.without_animator}
            run = {"detector": detector, "trained_on": trained_on, "tested_on": tested_on}
            measured = [by_value.find("video", **run, value=animator) for animator in animators]
            cells = [
                cell(found, metric) + ("" if animator in seen else " unseen")
                for animator, found in zip(animators, measured, strict=True)
            ]
            shown.append([detector, trained_on, tested_on, *cells, *sizes_in_order(measured)])
        if shown:
            shown.append(chance(len(_LABELS), len(animators)))
        columns = (*_LABELS, *(f"fakes of {animator}" for animator in animators), *SIZES)
        tables.append(Table(f"{title}: {what} (video level)", columns, shown))
    return tables


def dataset_tables(title: str, whole: Sequence[Cells], others: Sequence[Cells]) -> list[Table]:
    """Return metrics on other datasets, a column each, beside those on the run's own test clips of the same quality.

    Args:
        title: number and name of the protocol.
        whole: rows of metrics.tsv on the run's own test clips.
        others: such rows with ``tested_on`` as ``NAME:QUALITY``.
    """
    rows = [row for row in others if ":" in row["tested_on"] and is_whole(row["trained_on"])]
    names = list(dict.fromkeys(row["tested_on"].split(":")[0] for row in rows))
    qualities = dict.fromkeys(row["tested_on"].split(":")[1] for row in rows)
    tables, own, other = [], RowIndex(whole, RUN), RowIndex(rows, RUN)
    for level, metric, what in _MEASURES:
        shown = []
        for detector, trained_on in dict.fromkeys((row["detector"], row["trained_on"]) for row in rows):
            run = {"detector": detector, "trained_on": trained_on}
            for quality in sorted(qualities, key=lambda name: (name != "raw", name)):
                there = [other.find(level, **run, tested_on=f"{name}:{quality}") for name in names]
                if any(there):
                    here = own.find(level, **run, tested_on=quality)
                    cells = [cell(one, metric) for one in (here, *there)]
                    shown.append([detector, trained_on, quality, *cells, *sizes(there)])
        if shown:
            shown.append(chance(len(_LABELS), 1 + len(names)))
        tables.append(Table(f"{title}: {what}", (*_LABELS, "own test clips", *names, *SIZES), shown))
    return tables


def perturbation_tables(title: str, whole: Sequence[Cells], others: Sequence[Cells]) -> list[Table]:
    """Return a table per perturbation, with a column per level, mild to strong, beside the frames as they are.

    Args:
        title: number and name of the protocol.
        whole: rows of metrics.tsv on the run's own test clips.
        others: such rows with ``tested_on`` as ``QUALITY+PERTURBATION`` and its level.
    """
    rows = [row for row in others if "+" in row["tested_on"] and is_whole(row["trained_on"])]
    tested = {row["tested_on"] for row in rows}
    tables, own, other = [], RowIndex(whole, RUN), RowIndex(rows, RUN)
    for level, metric, what in _MEASURES:
        for quality in sorted({name.split("+")[0] for name in tested}):
            for kind, (name, heading) in PERTURBATIONS.items():
                where = [perturbed_name(quality, kind, strength) for strength in LEVELS[kind]]
                if not tested.intersection(where):
                    continue
                shown = []
                for detector, trained_on in dict.fromkeys((row["detector"], row["trained_on"]) for row in rows):
                    run = {"detector": detector, "trained_on": trained_on}
                    unperturbed = own.find(level, **run, tested_on=quality)
                    measured = [other.find(level, **run, tested_on=one) for one in where]
                    cells = [cell(one, metric) for one in (unperturbed, *measured)]
                    shown.append([detector, trained_on, *cells, *sizes(measured)])
                shown.append(chance(2, 1 + len(where)))
                columns = (
                    *_LABELS[:2],
                    f"{quality}, unperturbed",
                    *map(heading.format, LEVELS[kind]),
                    *SIZES,
                )
                tables.append(Table(f"{title}, {name}: {what}", columns, shown))
    return tables or [Table(title, _LABELS[:2], [])]


def is_whole(trained_on: str) -> bool:
    """Say whether a training set has all actions, animators and people, and is no fold."""
    chosen = parse_training_set(trained_on)
    return chosen.fold is None and chosen.people == 100 and not (chosen.only or chosen.without or chosen.by_animator)


def _is_as_trained(row: Cells) -> bool:
    return parse_training_set(row["trained_on"]).quality in (row["tested_on"], MIXED)


def _runs(rows: Sequence[Cells]) -> list[tuple[str, str, str]]:
    found = {(row["detector"], row["trained_on"], row["tested_on"]) for row in rows}
    return sorted(found, key=lambda run: as_tested(dict(zip(RUN, run, strict=True))))
