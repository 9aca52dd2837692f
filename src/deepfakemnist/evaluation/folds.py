"""Cross-validation: test videos of all folds as one set of predictions, each by a detector that never saw its person.

The folds together use every video, where one split tests on 15 % of them. Each fold's detector has a calibration of its
own, which a ranking over several of them feels: a pooled AUC tends to be lower than the AUCs of the folds, whose mean
stands beside it in the report. Accuracies pool without that effect.
"""

from __future__ import annotations

import logging

import pyarrow as pa
import pyarrow.compute as pc

from deepfakemnist.evaluation.aggregation import filter_rows

log = logging.getLogger(__name__)


def pooled_folds(predictions: pa.Table, name: str) -> pa.Table:
    """Return the test videos of a complete cross-validation as predictions of training set ``name``, or no rows.

    Complete are the folds of a detector and seed if no video is tested twice, and every validated video is tested too:
    val of a fold is the next one, so that a missing fold shows. Nothing is pooled of predictions on other datasets,
    where every fold scores the same videos, and on perturbed frames, which have no val.

    Args:
        predictions: rows of tables.PREDICTIONS of the folds of one training set.
        name: of the pooled set, see :func:`deepfakemnist.config.training_sets.with_pooled_folds`.
    """
    parts = [predictions.slice(0, 0)]
    runs = predictions.group_by(["detector", "seed"], use_threads=False).aggregate([]).to_pylist()
    for run in runs:
        rows = filter_rows(predictions, run)
        tables = [filter_rows(rows, {"trained_on": fold}) for fold in pc.unique(rows["trained_on"]).to_pylist()]
        val, tests = (
            [set(pc.unique(table.filter(pc.equal(table["split"], split))["video_id"]).to_pylist()) for table in tables]
            for split in ("val", "test")
        )
        tested = set.union(*tests)
        if len(tables) < 2 or len(tested) < sum(map(len, tests)):
            continue
        if not set.union(*val) or not set.union(*val) <= tested:
            continue
        log.info("%s: %d folds are evaluated together, %d videos", name, len(tables), len(tested))
        parts.append(rows.filter(pc.equal(rows["split"], "test")))
    pooled = pa.concat_tables(parts)
    column = pa.array([name] * pooled.num_rows, pooled["trained_on"].type)
    return pooled.set_column(pooled.schema.get_field_index("trained_on"), "trained_on", column)
