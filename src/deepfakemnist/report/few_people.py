"""Sentence above pages of detectors whose test split is too small for any conclusion."""

from __future__ import annotations

import re
from collections.abc import Sequence

from deepfakemnist.evaluation.clusters import MIN_CLUSTERS
from deepfakemnist.report.measurement_cells import Cells

_OF_CLASS = re.compile(r"too few people with (reals|fakes) \((\d+)\)")


def too_few_people(metrics: Sequence[Cells]) -> str:
    """Return what a test split of too few people leaves unknown; "" where some balanced accuracy has an interval.

    Args:
        metrics: rows of metrics.tsv.
    """
    tested = [row for row in metrics if row["split"] == "test" and row["n_people"]]
    if not tested or any(row["balanced_accuracy_low"] for row in tested):
        return ""
    largest = max(tested, key=lambda row: int(row["n_people"]))
    what = f"{_counted(largest['n_videos'], 'video')} of {_counted(largest['n_people'], 'person')}"
    if found := _OF_CLASS.search(largest["generalises_to"]):
        what += f", {found[1]} of {_counted(found[2], 'person')}"
    return (
        f"These numbers mean nothing beyond this run: the test split has {what}. With fewer than {MIN_CLUSTERS} people "
        "in a class there is no interval and no p-value, so they show neither which detector is better nor "
        "whether any is better than guessing (50 %)."
    )


def _counted(number: str, what: str) -> str:
    if number == "1":
        return f"1 {what}"
    return f"{number} {'people' if what == 'person' else what + 's'}"
