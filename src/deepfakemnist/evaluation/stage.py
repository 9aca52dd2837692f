"""The evaluation stage: from tables of predictions to two tables of results."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepfakemnist.evaluation import metrics
from deepfakemnist.evaluation.levels import RUN, frame_level, read_predictions, video_level
from deepfakemnist.ids import seed_from
from deepfakemnist.settings import EvaluationSettings
from deepfakemnist.tables import Row
from deepfakemnist.tsv import write_tsv

log = logging.getLogger(__name__)

_KEY = ("detector", "trained_on", "tested_on", "split", "level")
_VALUES = (
    *("accuracy", "accuracy_low", "accuracy_high", "balanced_accuracy", "real_accuracy", "fake_accuracy"),
    *("auc", "auc_low", "auc_high", "eer", "average_precision"),
)
_COUNTS = ("n_videos", "n_frames", "n_people")
METRICS_COLUMNS = (*_KEY, "seed", *_VALUES, "bootstrap_skipped", *_COUNTS)
ACTIONS_COLUMNS = (*_KEY, "action", "seed", *_VALUES, "bootstrap_skipped", *_COUNTS)
#: An interval says how much the people matter; a mean of intervals over training seeds would say nothing.
_NOT_AVERAGED = {"accuracy_low", "accuracy_high", "auc_low", "auc_high"}


def evaluate(
    predictions: Sequence[Path | str],
    metrics_tsv: Path | str,
    actions_tsv: Path | str,
    settings: EvaluationSettings,
    seed: int,
) -> None:
    """Measure every run of every detector on every quality and split, by frame and by video.

    ``metrics_tsv`` has one row per detector, ``trained_on``, ``tested_on`` (quality), split, level and seed.
    ``actions_tsv`` has the same per action: that action's fakes against all reals of the split. Where a detector was
    trained with several seeds, rows with seed ``mean`` and ``sd`` (of the sample, n - 1) follow; they have no
    intervals. ``accuracy_low`` to ``accuracy_high`` and ``auc_low`` to ``auc_high`` are 95 % intervals by bootstrap
    over people; ``bootstrap_skipped`` counts resamples that could not give an AUC. Empty cells are undefined values.

    Args:
        predictions: tables with tables.PREDICTIONS.
        metrics_tsv: file to write.
        actions_tsv: file to write.
        settings: number of resamples.
        seed: of the resamples; the same for every detector, so that they are compared on the same draws.

    Raises: ConfigError for predictions that cannot be evaluated; see levels.read_predictions and video_level.
    """
    table = read_predictions(predictions)
    whole: list[Row] = []
    by_action: list[Row] = []
    for level, samples in (("frame", frame_level(table)), ("video", video_level(table))):
        for group in _groups(samples):
            first = group.slice(0, 1).to_pylist()[0]
            key = {name: first[name] for name in (*RUN, "split")} | {"tested_on": first["quality"], "level": level}
            draws = seed_from(seed, first["quality"], first["split"], level)
            whole.append({**key, **_measure(group, settings.bootstrap, draws)})
            fakes = group.filter(pc.equal(group["label"], 1))
            for action in sorted(set(fakes["action"].to_pylist()) - {"", None}):
                wanted = pc.or_(pc.equal(group["label"], 0), pc.equal(pc.fill_null(group["action"], ""), action))
                measured = _measure(group.filter(wanted), settings.bootstrap, seed_from(draws, action))
                by_action.append({**key, "action": action, **measured})
    write_tsv(metrics_tsv, METRICS_COLUMNS, _with_means(whole, _KEY))
    write_tsv(actions_tsv, ACTIONS_COLUMNS, _with_means(by_action, (*_KEY, "action")))
    log.info("%d frames of %d prediction tables measured in %d groups", table.num_rows, len(predictions), len(whole))


def _groups(samples: pa.Table) -> Iterator[pa.Table]:
    """Yield the samples of each run, quality and split, in an order that input order does not change."""
    names = [*RUN, "quality", "split"]
    # The order within a group decides how floating-point sums round, so it must not come from the input either.
    ordered = samples.sort_by([(name, "ascending") for name in (*names, "video_id", "score")])
    for key in ordered.group_by(names, use_threads=False).aggregate([]).to_pylist():
        yield ordered.filter(reduce(pc.and_, [pc.equal(ordered[name], key[name]) for name in names]))


def _measure(samples: pa.Table, resamples: int, seed: int) -> Row:
    labels = samples["label"].to_numpy()
    scores = samples["score"].to_numpy().astype(np.float64)
    people = samples["person_id"].to_pylist()
    draws = metrics.bootstrap(labels, scores, people, resamples, seed)
    return {
        "accuracy": metrics.accuracy(labels, scores),
        "accuracy_low": draws.accuracy.low,
        "accuracy_high": draws.accuracy.high,
        "balanced_accuracy": metrics.balanced_accuracy(labels, scores),
        "real_accuracy": metrics.class_accuracy(labels, scores, label=0),
        "fake_accuracy": metrics.class_accuracy(labels, scores, label=1),
        "auc": metrics.auc(labels, scores),
        "auc_low": draws.auc.low,
        "auc_high": draws.auc.high,
        "eer": metrics.eer(labels, scores),
        "average_precision": metrics.average_precision(labels, scores),
        "bootstrap_skipped": draws.skipped,
        "n_videos": len(set(samples["video_id"].to_pylist())),
        "n_frames": sum(samples["frames"].to_pylist()),
        "n_people": len(set(people)),
    }


def _with_means(rows: list[Row], key: Sequence[str]) -> list[Row]:
    """Return rows sorted by key and seed, those of several seeds followed by their mean and standard deviation."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in key), []).append(row)
    out = []
    for name in sorted(groups):
        runs = sorted(groups[name], key=lambda row: row["seed"])
        out.extend(runs)
        if len(runs) > 1:
            out.append(_summary("mean", runs, key))
            out.append(_summary("sd", runs, key))
    return out


def _summary(statistic: str, runs: list[Row], key: Sequence[str]) -> Row:
    row = {name: runs[0][name] for name in key} | {"seed": statistic, "bootstrap_skipped": None}
    for name in _VALUES:
        values = [run[name] for run in runs]
        if name in _NOT_AVERAGED or any(value is None for value in values):
            row[name] = None
        else:
            row[name] = float(np.mean(values) if statistic == "mean" else np.std(values, ddof=1))
    for name in _COUNTS:
        counts = {run[name] for run in runs}
        row[name] = counts.pop() if len(counts) == 1 else None
    return row
