"""Evaluation stage: metrics tables from prediction tables, per run, quality, split, level and action.

In a run, each training set is measured by a job of its own (:mod:`.training_set`), and one more job joins their rows.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from deepfakemnist.config.detectors import EvaluationSettings
from deepfakemnist.config.training_sets import with_pooled_folds
from deepfakemnist.errors import ConfigError
from deepfakemnist.evaluation.aggregation import runs_of
from deepfakemnist.evaluation.calibration import CALIBRATION_COLUMNS, CALIBRATION_KEY, CURVES_COLUMNS
from deepfakemnist.evaluation.groups import GROUPS_COLUMNS, GROUPS_KEY
from deepfakemnist.evaluation.measured import UNSCORED_COLUMNS, read_measured
from deepfakemnist.evaluation.measurement import ACTIONS_COLUMNS, KEY, METRICS_COLUMNS, sorted_rows
from deepfakemnist.evaluation.pairs import PAIRS_COLUMNS, adjusted
from deepfakemnist.evaluation.training_set import measure_training_set
from deepfakemnist.tables.schemas import Row
from deepfakemnist.tables.tsv import write_tsv

log = logging.getLogger(__name__)


def evaluate(
    predictions: Sequence[Path | str],
    metrics_tsv: Path | str,
    actions_tsv: Path | str,
    pairs_tsv: Path | str,
    settings: EvaluationSettings,
    videos: Path | str | None = None,
    unscored_tsv: Path | str | None = None,
    crops: Sequence[Path | str] = (),
    details: Mapping[str, Path | str] | None = None,
) -> None:
    """Evaluate every run of every detector on every quality and split, at frame and video level.

    ``metrics_tsv`` has one row per detector, ``trained_on``, ``tested_on`` (quality), split, level and seed. Levels are
    frame, video (mean of the frame scores), video_median and video_top (mean of the highest).
    ``actions_tsv`` has the same per action: the fakes of the action against all reals of the split. When a detector was
    trained with several seeds, rows with seed ``mean`` and ``sd`` (of the sample, n - 1) follow. The test videos of all
    folds of a cross-validation are a training set of their own, see evaluation.folds. ``pairs_tsv`` compares every pair
    of detectors trained on the same set, each by the mean over its seeds.
    Columns ``…_low`` to ``…_high`` are 95 % intervals (docs/statistics.md); ``generalises_to`` says what they hold for,
    or that there are too few people for any. Empty cells are undefined values.
    A clip that could not be scored counts as an error in its class, and ``unscored_tsv`` lists it.

    Args:
        predictions: tables with tables.PREDICTIONS.
        metrics_tsv: file to write.
        actions_tsv: file to write.
        pairs_tsv: file to write.
        settings: top k and calibration bins.
        videos: table with tables.VIDEOS of the clips, for who drives each fake; None if there is none.
        unscored_tsv: file to write, if any.
        crops: tables with tables.CROPPED of the sources, for some of the groups.
        details: files to write of ``groups`` (see evaluation.groups; needs ``videos``), ``calibration`` and ``curves``
            (see evaluation.calibration), if any.

    Raises: ConfigError for predictions that cannot be evaluated; see training_set.measure_training_set.
    """
    names = [run.trained_on for run in runs_of(predictions)]
    sets = [
        measure_training_set(predictions, name, settings, videos, crops, in_detail=bool(details))
        for name in with_pooled_folds(names)
    ]
    tables = {"metrics": metrics_tsv, "actions": actions_tsv, "pairs": pairs_tsv, **(details or {})}
    if unscored_tsv is not None:
        tables["unscored"] = unscored_tsv
    if not sets:
        raise ConfigError(f"there are no predictions to evaluate in {len(predictions)} tables; train a detector first")
    write_evaluation(lambda table: [row for one in sets for row in getattr(one, table)], tables)


def join_training_sets(measured: Sequence[Path | str], tables: Mapping[str, Path | str]) -> None:
    """Write the tables of an evaluation from the measures of its training sets.

    Args:
        measured: files of measured.write_measured.
        tables: file to write by name of the table, a key of measured.COLUMNS.

    Raises: ConfigError when nothing was measured.
    """
    write_evaluation(partial(read_measured, measured), tables)


def write_evaluation(rows_of: Callable[[str], Iterable[Row]], tables: Mapping[str, Path | str]) -> None:
    """Sort the rows of all training sets, adjust the p-values of their comparisons, and write the tables.

    Args:
        rows_of: returns the rows of a table of all training sets.
        tables: file to write by name of the table, a key of measured.COLUMNS.

    Raises: ConfigError when there are no metrics.
    """
    whole = sorted_rows(rows_of("metrics"), KEY)
    if not whole:
        raise ConfigError("there are no predictions to evaluate; train a detector first")
    pairs = adjusted(rows_of("pairs"))
    write_tsv(tables["metrics"], METRICS_COLUMNS, whole)
    write_tsv(tables["actions"], ACTIONS_COLUMNS, sorted_rows(rows_of("actions"), (*KEY, "action")))
    write_tsv(tables["pairs"], PAIRS_COLUMNS, pairs)
    lost = _unscored_clips(rows_of("unscored"))
    if lost:
        log.warning("%d clips could not be scored and count as errors, e.g. %s", len(lost), lost[0]["video_id"])
    if "unscored" in tables:
        write_tsv(tables["unscored"], UNSCORED_COLUMNS, lost)
    if "groups" in tables:
        write_tsv(tables["groups"], GROUPS_COLUMNS, sorted_rows(rows_of("groups"), GROUPS_KEY))
    for name, columns in (("calibration", CALIBRATION_COLUMNS), ("curves", CURVES_COLUMNS)):
        if name in tables:
            rows = ({**row, "seed": int(row["seed"])} for row in rows_of(name))
            write_tsv(tables[name], columns, sorted_rows(rows, CALIBRATION_KEY))
    log.info("%d measurements of %d training sets", len(whole), len({row["trained_on"] for row in whole}))


def _unscored_clips(rows: Iterable[Row]) -> list[Row]:
    """Return a row per clip and quality with the number of runs of all training sets, sorted."""
    *names, _ = UNSCORED_COLUMNS
    runs: Counter[tuple[object, ...]] = Counter()
    for row in rows:
        runs[tuple(row[name] for name in names)] += row["runs"]
    keys = sorted(runs, key=lambda key: [(value is None, value) for value in key])
    return [dict(zip(names, key, strict=True), runs=runs[key]) for key in keys]
