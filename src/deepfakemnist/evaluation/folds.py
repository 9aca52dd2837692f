"""Cross-validation: test videos of all folds as one set of predictions, each by a detector that never saw its person.

The folds together use every video, where one split tests on 15 % of them. Each fold's detector has a calibration of its
own, which a ranking over several of them feels: a pooled AUC tends to be lower than the AUCs of the folds, whose mean
stands beside it in the report. Accuracies pool without that effect.
"""

from __future__ import annotations

import logging
from collections import defaultdict

import pyarrow as pa
import pyarrow.compute as pc

from deepfakemnist.config.training_sets import FOLDS, parse_training_set
from deepfakemnist.evaluation.aggregation import filter_rows
from deepfakemnist.tables.schemas import Row

log = logging.getLogger(__name__)


def with_pooled_folds(predictions: pa.Table) -> pa.Table:
    """Return the predictions and, for every complete cross-validation, its test videos as training set ``…-folds``.

    Complete are the folds of a detector and seed if no video is tested twice, and every validated video is tested too:
    val of a fold is the next one, so that a missing fold shows. Others stay as they are, as do predictions on other
    datasets, where every fold scores the same videos, and on perturbed frames, which have no val.

    Args:
        predictions: rows of tables.PREDICTIONS.
    """
    parts = [predictions]
    for pooled_name, runs in _cross_validations(predictions):
        tables = [filter_rows(predictions, run) for run in runs]
        val, tests = (
            [set(table.filter(pc.equal(table["split"], split))["video_id"].to_pylist()) for table in tables]
            for split in ("val", "test")
        )
        tested = set.union(*tests)
        if len(tested) < sum(map(len, tests)) or not set.union(*val) or not set.union(*val) <= tested:
            continue
        log.info("%s: %d folds are evaluated together, %d videos", pooled_name, len(runs), len(tested))
        for table in tables:
            test = table.filter(pc.equal(table["split"], "test"))
            column = pa.array([pooled_name] * test.num_rows, test["trained_on"].type)
            parts.append(test.set_column(test.schema.get_field_index("trained_on"), "trained_on", column))
    return pa.concat_tables(parts)


def _cross_validations(predictions: pa.Table) -> list[tuple[str, list[Row]]]:
    """Return the runs of the folds of every detector, training set and seed, with the name of the pooled set."""
    keys = ("detector", "trained_on", "seed")
    runs: dict[tuple[str, str, int], list[Row]] = defaultdict(list)
    for run in predictions.group_by(list(keys), use_threads=False).aggregate([]).to_pylist():
        fold = parse_training_set(run["trained_on"]).fold
        if fold is not None:
            name = run["trained_on"].removesuffix(f"-fold-{fold}")
            runs[run["detector"], f"{name}-{FOLDS}", run["seed"]].append({key: run[key] for key in keys})
    return [(name, found) for (_, name, _), found in runs.items() if len(found) > 1]
