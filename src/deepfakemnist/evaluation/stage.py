"""Evaluation stage: metrics tables from prediction tables, per run, quality, split, level and action."""

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
from deepfakemnist.evaluation.aggregation import RUN, filter_rows, frame_level, read_predictions, video_level
from deepfakemnist.evaluation.folds import with_pooled_folds
from deepfakemnist.evaluation.pairs import PAIRS_COLUMNS, compare_runs
from deepfakemnist.evaluation.resampling import RESAMPLED, bootstrap
from deepfakemnist.ids import seed_from
from deepfakemnist.tables.schemas import Row
from deepfakemnist.tables.tsv import write_tsv

log = logging.getLogger(__name__)

_KEY = ("detector", "trained_on", "tested_on", "split", "level")
#: Left empty in the rows of mean and sd: an average of intervals over training seeds has no meaning.
_INTERVALS = tuple(f"{name}_{end}" for name in RESAMPLED for end in ("low", "high"))
_POINTS = (*RESAMPLED, "brier", "calibration_error", "apcer", "bpcer", "acer")
_COUNTS = ("n_videos", "n_frames", "n_people", "n_without_frames")
_METRIC_COLUMNS = (
    *(column for name in RESAMPLED for column in (name, f"{name}_low", f"{name}_high")),
    *_POINTS[len(RESAMPLED) :],
)
METRICS_COLUMNS = (*_KEY, "seed", *_METRIC_COLUMNS, "bootstrap_skipped", *_COUNTS)
ACTIONS_COLUMNS = (*_KEY, "action", "seed", *_METRIC_COLUMNS, "bootstrap_skipped", *_COUNTS)
#: Levels with per-action metrics and pairwise comparisons.
_MAIN_LEVELS = ("frame", "video")


def evaluate(
    predictions: Sequence[Path | str],
    metrics_tsv: Path | str,
    actions_tsv: Path | str,
    pairs_tsv: Path | str,
    settings: EvaluationSettings,
    seed: int,
) -> None:
    """Evaluate every run of every detector on every quality and split, at frame and video level.

    ``metrics_tsv`` has one row per detector, ``trained_on``, ``tested_on`` (quality), split, level and seed. Levels are
    frame, video (mean of the frame scores), video_median and video_top (mean of the highest).
    ``actions_tsv`` has the same per action: the fakes of the action against all reals of the split. When a detector was
    trained with several seeds, rows with seed ``mean`` and ``sd`` (of the sample, n - 1) follow; they have no
    intervals. The test videos of all folds of a cross-validation are a training set of their own, see evaluation.folds.
    ``pairs_tsv`` compares every pair of detectors trained on the same set with the same seed.
    Columns ``…_low`` to ``…_high`` are 95 % bootstrap intervals over people; ``bootstrap_skipped`` counts resamples
    with a single class. Empty cells are undefined values.

    Args:
        predictions: tables with tables.PREDICTIONS.
        metrics_tsv: file to write.
        actions_tsv: file to write.
        pairs_tsv: file to write.
        settings: number of resamples, top k and calibration bins.
        seed: seed of the resamples, shared by all detectors, so that they are compared on the same resamples.

    Raises: ConfigError for predictions that cannot be evaluated; see aggregation.read_predictions and video_level.
    """
    table = with_pooled_folds(read_predictions(predictions))
    whole: list[Row] = []
    by_action: list[Row] = []
    pairs: list[Row] = []
    for level, samples in aggregate_levels(table, settings).items():
        for group in run_groups(samples):
            first = group.slice(0, 1).to_pylist()[0]
            key = {name: first[name] for name in (*RUN, "split")} | {"tested_on": first["quality"], "level": level}
            group_seed = seed_from(seed, first["quality"], first["split"], level)
            whole.append({**key, **compute_metrics(group, settings, group_seed)})
            if level in _MAIN_LEVELS:
                fakes = group.filter(pc.equal(group["label"], 1))
                for action in sorted(set(fakes["action"].to_pylist()) - {"", None}):
                    wanted = pc.or_(pc.equal(group["label"], 0), pc.equal(pc.fill_null(group["action"], ""), action))
                    measured = compute_metrics(group.filter(wanted), settings, seed_from(group_seed, action))
                    by_action.append({**key, "action": action, **measured})
        if level in _MAIN_LEVELS:
            pairs += compare_runs(samples, level, settings.bootstrap, seed)
    write_tsv(metrics_tsv, METRICS_COLUMNS, with_seed_statistics(whole, _KEY))
    write_tsv(actions_tsv, ACTIONS_COLUMNS, with_seed_statistics(by_action, (*_KEY, "action")))
    write_tsv(pairs_tsv, PAIRS_COLUMNS, pairs)
    log.info("evaluated %d frames of %d prediction tables in %d groups", table.num_rows, len(predictions), len(whole))


def aggregate_levels(predictions: pa.Table, settings: EvaluationSettings) -> dict[str, pa.Table]:
    """Return the samples of every level: frame, video, video_median and video_top."""
    return {
        "frame": frame_level(predictions),
        "video": video_level(predictions),
        "video_median": video_level(predictions, "median"),
        "video_top": video_level(predictions, "top", settings.top_k),
    }


def run_groups(samples: pa.Table) -> Iterator[pa.Table]:
    """Yield the samples of each run, quality and split, in an order independent of the input's."""
    names = [*RUN, "quality", "split"]
    # Rounding of sums depends on the order within a group, so that must not depend on the input either.
    ordered = samples.sort_by([(name, "ascending") for name in (*names, "video_id", "score")])
    for key in ordered.group_by(names, use_threads=False).aggregate([]).to_pylist():
        yield filter_rows(ordered, key)


def compute_metrics(samples: pa.Table, settings: EvaluationSettings, seed: int) -> Row:
    """Return every metric of a set of samples with its interval, and the numbers of videos, frames and people."""
    labels = samples["label"].to_numpy()
    scores = samples["score"].to_numpy().astype(np.float64)
    people = samples["person_id"].to_pylist()
    intervals = bootstrap(labels, scores, people, settings.bootstrap, seed)
    apcer = metrics.apcer(labels, scores, pc.fill_null(samples["action"], "").to_pylist())
    bpcer = metrics.bpcer(labels, scores)
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
        "apcer": apcer,
        "bpcer": bpcer,
        "acer": None if apcer is None or bpcer is None else (apcer + bpcer) / 2,
        "bootstrap_skipped": intervals.skipped,
        "n_videos": len(set(samples["video_id"].to_pylist())),
        "n_frames": sum(samples["frames"].to_pylist()),
        "n_people": len(set(people)),
        "n_without_frames": samples["frames"].to_pylist().count(0),
    }
    for name in RESAMPLED:
        row |= {f"{name}_low": intervals[name].low, f"{name}_high": intervals[name].high}
    return row


def with_seed_statistics(rows: list[Row], key: Sequence[str]) -> list[Row]:
    """Return the rows sorted by key and seed; several seeds are followed by their mean and standard deviation."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in key), []).append(row)
    out = []
    for name in sorted(groups):
        runs = sorted(groups[name], key=lambda row: row["seed"])
        out.extend(runs)
        if len(runs) > 1:
            out.append(_seed_statistic("mean", runs, key))
            out.append(_seed_statistic("sd", runs, key))
    return out


def _seed_statistic(statistic: str, runs: list[Row], key: Sequence[str]) -> Row:
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
