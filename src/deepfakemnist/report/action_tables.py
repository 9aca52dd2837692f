"""Protocols by action: accuracy on each action's fakes, and training on the fakes of one action or of all but one."""

from __future__ import annotations

from collections.abc import Sequence

from deepfakemnist.config.base import ACTIONS, MIXED
from deepfakemnist.config.training_sets import TrainingSet, parse_training_set
from deepfakemnist.report.action_charts import Measured, training_action_charts
from deepfakemnist.report.measurement_cells import (
    SIZES,
    Cells,
    RowIndex,
    as_tested,
    cell,
    chance,
    over_seeds,
    percent,
    sizes,
)
from deepfakemnist.report.paper import ORIGINAL, paper_accuracy, paper_action_accuracy
from deepfakemnist.report.parts import Part, Table

_KINDS = {"only": "trained on one action", "without": "trained on all but one action"}
_CONSTANT = (
    "A detector that calls every clip fake has 100 % in all actions and 0 % in reals, so that the two are read "
    "together. The paper does not name its model."
)


def action_accuracy(by_run: RowIndex, by_action: RowIndex) -> list[Table]:
    """Per-action accuracy: a table per detector with its accuracy on each action's fakes and on reals, by quality.

    An action without test fakes keeps its row, filled with dashes: few accepted fakes are a result too.

    Args:
        by_run, by_action: rows on test, of metrics.tsv and of actions.tsv.
    """
    found = by_action.measurements()
    classes = [*ACTIONS, *sorted({key["action"] for key in found} - {*ACTIONS}), "reals"]
    tables = []
    within: dict[str, list[dict[str, str]]] = {}
    for run in sorted(by_run.measurements(), key=as_tested):
        if run["trained_on"] == run["tested_on"]:
            within.setdefault(run["detector"], []).append(run)
    for detector, runs in within.items():
        rows = []
        for name in classes:
            measured = [
                by_run.find("frame", **run) if name == "reals" else by_action.find("frame", **run, action=name)
                for run in runs
            ]
            metric = "real_accuracy" if name == "reals" else "fake_accuracy"
            papers = [paper_action_accuracy(run["tested_on"], ORIGINAL if name == "reals" else name) for run in runs]
            cells = [cell(one, metric, paper) for one, paper in zip(measured, papers, strict=True)]
            rows.append([name, *cells, *sizes(measured)])
        columns = ("clips", *(run["tested_on"] for run in runs), *SIZES)
        tables.append(Table(f"5. Per-action accuracy of {detector}, %", columns, rows, _CONSTANT))
    return tables or [Table("5. Per-action accuracy", ("clips",), [])]


def action_training(by_run: RowIndex, by_action: RowIndex) -> list[Part]:
    """Cross-action generalisation: trained on the fakes of one action, or of all but one; tested on each.

    Args:
        by_run, by_action: rows on test, of metrics.tsv and of actions.tsv.
    """
    actions = sorted({key["action"] for key in by_action.measurements()}, key=_place)
    parts: list[Part] = []
    measured: list[Measured] = []
    for kind, title in _KINDS.items():
        by_detector: dict[str, list[list[str]]] = {}
        for run in sorted(by_run.measurements(), key=as_tested):
            chosen = parse_training_set(run["trained_on"])
            action = getattr(chosen, kind)
            if action is None or chosen != TrainingSet(chosen.quality, chosen.only, chosen.without):
                continue
            whole = by_run.find("frame", **run)
            if chosen.quality not in (run["tested_on"], MIXED) or not whole:
                continue
            paper = paper_accuracy(run["detector"], run["trained_on"], run["tested_on"])
            rows = by_detector.setdefault(run["detector"], [])
            rows.append([action, "all", run["tested_on"], cell(whole, "balanced_accuracy", paper), *sizes([whole])])
            where = {"kind": title, "detector": run["detector"], "tested on": run["tested_on"], "action": action}
            measured.append(_measured({**where, "test action": "all"}, whole))
            for other in actions:
                found = by_action.find("frame", **run, action=other)
                rows.append([action, other, run["tested_on"], cell(found, "balanced_accuracy"), *sizes([found])])
                if found:
                    measured.append(_measured({**where, "test action": other}, found))
        columns = (title, "test action", "tested on", "balanced accuracy %", *SIZES)
        for detector, rows in by_detector.items():
            name = f"4. Cross-action generalisation, {title}: {detector}"
            parts.append(Table(name, columns, [*rows, chance(3, 1)]))
    if not parts:
        return [Table("4. Cross-action generalisation, trained on one action or all but one", ("action",), [])]
    return [*training_action_charts(measured), *parts]


def _measured(where: dict[str, str], found: Sequence[Cells]) -> Measured:
    return where, percent(found, "balanced_accuracy"), over_seeds(found) or {}


def _place(action: str) -> tuple[int, str]:
    return (ACTIONS.index(action) if action in ACTIONS else len(ACTIONS), action)
