"""The evaluation stage: from tables of predictions to tables of results."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepfakemnist.config.detectors import EvaluationSettings
from deepfakemnist.evaluation import metrics
from deepfakemnist.evaluation.aggregation import RUN, frame_level, read_predictions, rows_with, video_level
from deepfakemnist.evaluation.pairs import PAIRS_COLUMNS, compare_runs
from deepfakemnist.evaluation.resampling import RESAMPLED, bootstrap
from deepfakemnist.ids import seed_from
from deepfakemnist.tables.schemas import Row
from deepfakemnist.tables.tsv import write_tsv

log = logging.getLogger(__name__)

_KEY = ("detector", "trained_on", "tested_on", "split", "level")
#: An interval says how much the people matter; a mean of intervals over training seeds would say nothing.
_INTERVALS = tuple(f"{name}_{end}" for name in RESAMPLED for end in ("low", "high"))
_POINTS = (*RESAMPLED, "brier", "calibration_error", "apcer", "bpcer", "acer")
_COUNTS = ("n_videos", "n_frames", "n_people", "n_without_frames")
_MEASURED = (
    *(column for name in RESAMPLED for column in (name, f"{name}_low", f"{name}_high")),
    *_POINTS[len(RESAMPLED) :],
)
METRICS_COLUMNS = (*_KEY, "seed", *_MEASURED, "bootstrap_skipped", *_COUNTS)
ACTIONS_COLUMNS = (*_KEY, "action", "seed", *_MEASURED, "bootstrap_skipped", *_COUNTS)
#: Levels that are also measured per action and compared between detectors.
_MAIN_LEVELS = ("frame", "video")


def evaluate(
    predictions: Sequence[Path | str],
    metrics_tsv: Path | str,
    actions_tsv: Path | str,
    pairs_tsv: Path | str,
    settings: EvaluationSettings,
    seed: int,
) -> None:
    """Measure every run of every detector on every quality and split, by frame and by video.

    ``metrics_tsv`` has one row per detector, ``trained_on``, ``tested_on`` (quality), split, level and seed. Levels are
    frame, video (mean of the frames' scores), video_median and video_top (mean of the highest).
    ``actions_tsv`` has the same per action: that action's fakes against all reals of the split. Where a detector was
    trained with several seeds, rows with seed ``mean`` and ``sd`` (of the sample, n - 1) follow; they have no
    intervals. ``pairs_tsv`` compares every two detectors that were trained on the same clips with the same seed.
    Columns ``…_low`` to ``…_high`` are 95 % intervals by bootstrap over people; ``bootstrap_skipped`` counts resamples
    that held one class only. Empty cells are undefined values.

    Args:
        predictions: tables with tables.PREDICTIONS.
        metrics_tsv: file to write.
        actions_tsv: file to write.
        pairs_tsv: file to write.
        settings: number of resamples, and what top and calibration mean.
        seed: of the resamples; the same for every detector, so that they are compared on the same draws.

    Raises: ConfigError for predictions that cannot be evaluated; see levels.read_predictions and video_level.
    """
    table = read_predictions(predictions)
    whole: list[Row] = []
    by_action: list[Row] = []
    pairs: list[Row] = []
    for level, samples in levels_of(table, settings).items():
        for group in groups_of(samples):
            first = group.slice(0, 1).to_pylist()[0]
            key = {name: first[name] for name in (*RUN, "split")} | {"tested_on": first["quality"], "level": level}
            draws = seed_from(seed, first["quality"], first["split"], level)
            whole.append({**key, **measure(group, settings, draws)})
            if level in _MAIN_LEVELS:
                fakes = group.filter(pc.equal(group["label"], 1))
                for action in sorted(set(fakes["action"].to_pylist()) - {"", None}):
                    wanted = pc.or_(pc.equal(group["label"], 0), pc.equal(pc.fill_null(group["action"], ""), action))
                    measured = measure(group.filter(wanted), settings, seed_from(draws, action))
                    by_action.append({**key, "action": action, **measured})
        if level in _MAIN_LEVELS:
            pairs += compare_runs(samples, level, settings.bootstrap, seed)
    write_tsv(metrics_tsv, METRICS_COLUMNS, with_means(whole, _KEY))
    write_tsv(actions_tsv, ACTIONS_COLUMNS, with_means(by_action, (*_KEY, "action")))
    write_tsv(pairs_tsv, PAIRS_COLUMNS, pairs)
    log.info("%d frames of %d prediction tables measured in %d groups", table.num_rows, len(predictions), len(whole))


def levels_of(predictions: pa.Table, settings: EvaluationSettings) -> dict[str, pa.Table]:
    """Return the samples of every level: frame, video, video_median and video_top."""
    return {
        "frame": frame_level(predictions),
        "video": video_level(predictions),
        "video_median": video_level(predictions, "median"),
        "video_top": video_level(predictions, "top", settings.top_k),
    }


def groups_of(samples: pa.Table) -> Iterator[pa.Table]:
    """Yield the samples of each run, quality and split, in an order that input order does not change."""
    names = [*RUN, "quality", "split"]
    # The order within a group decides how floating-point sums round, so it must not come from the input either.
    ordered = samples.sort_by([(name, "ascending") for name in (*names, "video_id", "score")])
    for key in ordered.group_by(names, use_threads=False).aggregate([]).to_pylist():
        yield rows_with(ordered, key)


def measure(samples: pa.Table, settings: EvaluationSettings, seed: int) -> Row:
    """Return every metric of a set of samples with its interval, and how many there were."""
    labels = samples["label"].to_numpy()
    scores = samples["score"].to_numpy().astype(np.float64)
    people = samples["person_id"].to_pylist()
    draws = bootstrap(labels, scores, people, settings.bootstrap, seed)
    worst = metrics.apcer(labels, scores, pc.fill_null(samples["action"], "").to_pylist())
    false_alarms = metrics.bpcer(labels, scores)
    row: Row = {
        "accuracy": metrics.accuracy(labels, scores),
        "balanced_accuracy": metrics.balanced_accuracy(labels, scores),
        "real_accuracy": metrics.class_accuracy(labels, scores, label=0),
        "fake_accuracy": metrics.class_accuracy(labels, scores, label=1),
        "auc": metrics.auc(labels, scores),
        "eer": metrics.eer(labels, scores),
        "average_precision": metrics.average_precision(labels, scores),
        "tpr_at_fpr_1": metrics.tpr_at_fpr(labels, scores, 0.01),
        "tpr_at_fpr_5": metrics.tpr_at_fpr(labels, scores, 0.05),
        "brier": metrics.brier(labels, scores),
        "calibration_error": metrics.calibration_error(labels, scores, settings.calibration_bins),
        "apcer": worst,
        "bpcer": false_alarms,
        "acer": None if worst is None or false_alarms is None else (worst + false_alarms) / 2,
        "bootstrap_skipped": draws.skipped,
        "n_videos": len(set(samples["video_id"].to_pylist())),
        "n_frames": sum(samples["frames"].to_pylist()),
        "n_people": len(set(people)),
        "n_without_frames": samples["frames"].to_pylist().count(0),
    }
    for name in RESAMPLED:
        row |= {f"{name}_low": draws[name].low, f"{name}_high": draws[name].high}
    return row


def with_means(rows: list[Row], key: Sequence[str]) -> list[Row]:
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
    row: Row = {name: runs[0][name] for name in key} | {"seed": statistic, "bootstrap_skipped": None}
    row |= dict.fromkeys(_INTERVALS)
    for name in _POINTS:
        values = [run[name] for run in runs]
        if any(value is None for value in values):
            row[name] = None
        else:
            row[name] = float(np.mean(values) if statistic == "mean" else np.std(values, ddof=1))
    for name in _COUNTS:
        counts = {run[name] for run in runs}
        row[name] = counts.pop() if len(counts) == 1 else None
    return row
