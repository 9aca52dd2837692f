"""Report page of metrics by action: its fakes against all reals, and a chart beside the paper's figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deepfakemnist.report.action_charts import Measured, action_chart
from deepfakemnist.report.compact_tables import compact
from deepfakemnist.report.few_people import too_few_people
from deepfakemnist.report.measurement_cells import RUN, SIZES, Cells, as_tested, cell, over_seeds, percent
from deepfakemnist.report.pages import write_page
from deepfakemnist.report.parts import Lead, Table
from deepfakemnist.tables.tsv import read_tsv

_LEAD = Lead(
    shows="How well each detector finds the fakes of each facial action. In the table, the fakes of one action are "
    "told from all reals of the test split, over all training seeds; guessing gives 50 %.",
    reading="Frame level. In brackets: the 95 % interval, clustered by person. Validation, the video level and "
    "single seeds are in evaluation/actions.tsv.",
    limits="Actions differ in their numbers of fakes and in what the animator makes of them, so a low figure may be "
    "of few videos: compare actions only where intervals do not overlap.",
)
_TITLES = ("detector", "trained on", "tested on", "action", "balanced accuracy %", "AUC %")


def write_actions_page(metrics: Path, actions: Path, path: Path, notices: Sequence[str] = ()) -> None:
    """Show accuracy, balanced accuracy and AUC on the fakes of each action, by frame, on test.

    Args:
        metrics, actions: tables of the evaluation stage.
        path: page to write.
        notices: sentences above all else.
    """
    whole = read_tsv(metrics)
    by_key: dict[tuple[str, ...], list[Cells]] = {}
    for tested in sorted(_tested(read_tsv(actions)), key=lambda row: (as_tested(row), row["action"])):
        by_key.setdefault(tuple(tested[name] for name in (*RUN, "action")), []).append(tested)
    rows = []
    for key, found in by_key.items():
        row = over_seeds(found)
        assert row is not None  # a measurement has a row
        values = [cell(found, name, with_people=False) for name in ("balanced_accuracy", "auc")]
        rows.append([*key, *values, *(row[name] for name in ("n_videos", "n_people", "generalises_to"))])
    table = compact(Table("Each action against all reals", (*_TITLES, *SIZES), rows))
    charts = action_chart(_measured(_tested(whole), by_key))
    write_page(path, "Metrics by action", _LEAD, [*charts, table], [*notices, too_few_people(whole)])


def _tested(rows: Sequence[Cells]) -> list[Cells]:
    return [row for row in rows if (row["split"], row["level"]) == ("test", "frame")]


def _measured(whole: Sequence[Cells], by_key: dict[tuple[str, ...], list[Cells]]) -> list[Measured]:
    """Return the accuracies on fakes of each action and on reals of detectors trained and tested on one quality."""
    runs: dict[tuple[str, ...], list[Cells]] = {}
    for row in sorted(whole, key=as_tested):
        if row["trained_on"] == row["tested_on"]:
            runs.setdefault(tuple(row[name] for name in RUN), []).append(row)
    found: list[Measured] = []
    for run, rows in runs.items():
        where = {"detector": run[0], "quality": run[2]}
        for key in (key for key in by_key if key[:3] == run):
            of_action = by_key[key]
            found.append(({**where, "class": key[3]}, percent(of_action, "fake_accuracy"), over_seeds(of_action) or {}))
        found.append(({**where, "class": "reals"}, percent(rows, "real_accuracy"), over_seeds(rows) or {}))
    return found
