"""Evaluation stage: metrics tables from prediction tables, per run, quality, split, level and action."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepfakemnist.config.detectors import EvaluationSettings
from deepfakemnist.dataset.people import has_published_split, people_are_known, train_people_in_test
from deepfakemnist.evaluation import metrics
from deepfakemnist.evaluation.aggregation import (
    RUN,
    filter_rows,
    frame_level,
    read_predictions,
    unscored_clips,
    video_level,
)
from deepfakemnist.evaluation.clusters import Clusters
from deepfakemnist.evaluation.estimates import ESTIMATED, Estimate, estimates
from deepfakemnist.evaluation.folds import with_pooled_folds
from deepfakemnist.evaluation.metrics import Floats
from deepfakemnist.evaluation.pairs import PAIRS_COLUMNS, compare_runs
from deepfakemnist.tables.files import read_table
from deepfakemnist.tables.schemas import Row
from deepfakemnist.tables.tsv import write_tsv

log = logging.getLogger(__name__)

_KEY = ("detector", "trained_on", "tested_on", "split", "level")
_INTERVALS = tuple(f"{name}_{end}" for name in ESTIMATED for end in ("low", "high"))
_POINTS = (*ESTIMATED, "brier", "calibration_error", "apcer", "bpcer", "acer")
_COUNTS = ("n_videos", "n_frames", "n_people", "n_without_frames")
_METRIC_COLUMNS = (
    *(column for name in ESTIMATED for column in (name, f"{name}_low", f"{name}_high")),
    *_POINTS[len(ESTIMATED) :],
    "generalises_to",
)
METRICS_COLUMNS = (*_KEY, "seed", *_METRIC_COLUMNS, *_COUNTS)
ACTIONS_COLUMNS = (*_KEY, "action", "seed", *_METRIC_COLUMNS, *_COUNTS)
UNSCORED_COLUMNS = ("split", "quality", "label", "action", "person_id", "video_id", "runs")
#: What intervals hold for; where a split is by video, or each fake counts as a person, it is new videos and this.
_NEW_PEOPLE, _KNOWN_PEOPLE, _UNKNOWN_PEOPLE = "new people", "people partly seen in training", "people not known"
_PEOPLE_COLUMNS = ("video_id", "label", "person_id", "split", "split_driver", "split_paper", "fold")
#: Levels with per-action metrics and pairwise comparisons.
_MAIN_LEVELS = ("frame", "video")


def evaluate(
    predictions: Sequence[Path | str],
    metrics_tsv: Path | str,
    actions_tsv: Path | str,
    pairs_tsv: Path | str,
    settings: EvaluationSettings,
    videos: Path | str | None = None,
    unscored_tsv: Path | str | None = None,
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

    Raises: ConfigError for predictions that cannot be evaluated; see aggregation.read_predictions and video_level.
    """
    predicted = read_predictions(predictions, videos)
    table = with_pooled_folds(predicted)
    whole: list[Row] = []
    by_action: list[Row] = []
    pairs: list[Row] = []
    for level, samples in aggregate_levels(table, settings).items():
        for runs in run_groups(samples):
            key = key_of(runs, level)
            whole += [{**key, **row} for row in measure(runs, settings)]
            if level in _MAIN_LEVELS:
                for action in _actions(runs):
                    measured = measure([_of_action(run, action) for run in runs], settings)
                    by_action += [{**key, "action": action, **row} for row in measured]
        if level in _MAIN_LEVELS:
            pairs += compare_runs(samples, level)
    if videos is not None:
        qualify_people([*whole, *by_action, *pairs], videos)
    write_tsv(metrics_tsv, METRICS_COLUMNS, sorted_rows(whole, _KEY))
    write_tsv(actions_tsv, ACTIONS_COLUMNS, sorted_rows(by_action, (*_KEY, "action")))
    write_tsv(pairs_tsv, PAIRS_COLUMNS, pairs)
    lost = unscored_clips(predicted)
    if unscored_tsv is not None:
        write_tsv(unscored_tsv, UNSCORED_COLUMNS, lost)
    if lost:
        log.warning("%d clips could not be scored and count as errors, e.g. %s", len(lost), lost[0]["video_id"])
    log.info("evaluated %d frames of %d prediction tables in %d rows", table.num_rows, len(predictions), len(whole))


def qualify_people(rows: Sequence[Row], videos: Path | str) -> None:
    """Correct ``generalises_to`` in rows of test whose people are not new, or not known.

    Args:
        rows: rows with ``trained_on``, ``tested_on``, ``split`` and ``generalises_to``, which is changed. Rows of
            another dataset, whose people were not trained on, stay.
        videos: table with tables.VIDEOS of the run's own clips.
    """
    mine = [row for row in rows if row["split"] == "test" and ":" not in row["tested_on"]]
    listed = read_table(videos, _PEOPLE_COLUMNS)
    if not people_are_known(listed.to_pylist(), has_published_split(videos)):
        people = dict.fromkeys({row["trained_on"] for row in mine}, _UNKNOWN_PEOPLE)
    else:
        seen = (name for name in {row["trained_on"] for row in mine} if train_people_in_test(listed, name))
        people = dict.fromkeys(seen, _KNOWN_PEOPLE)
    for row in mine:
        if (what := people.get(row["trained_on"])) and row["generalises_to"].startswith(_NEW_PEOPLE):
            row["generalises_to"] = f"new videos{row['generalises_to'].removeprefix(_NEW_PEOPLE)}; {what}"


def aggregate_levels(predictions: pa.Table, settings: EvaluationSettings) -> dict[str, pa.Table]:
    """Return the samples of every level: frame, video, video_median and video_top."""
    return {
        "frame": frame_level(predictions),
        "video": video_level(predictions),
        "video_median": video_level(predictions, "median"),
        "video_top": video_level(predictions, "top", settings.top_k),
    }


def run_groups(samples: pa.Table) -> Iterator[list[pa.Table]]:
    """Yield the runs of each detector, training set, quality and split, a table per seed.

    Rows are in an order independent of the input's.
    """
    names = [name for name in (*RUN, "quality", "split") if name != "seed"]
    # Rounding of sums depends on the order within a group, so that must not depend on the input either.
    last = ["frame_index"] if "frame_index" in samples.column_names else []
    ordered = samples.sort_by([(name, "ascending") for name in (*names, "seed", "video_id", *last)])
    for key in ordered.group_by(names, use_threads=False).aggregate([]).to_pylist():
        group = filter_rows(ordered, key)
        yield [filter_rows(group, {"seed": seed}) for seed in pc.unique(group["seed"]).to_pylist()]


def key_of(runs: Sequence[pa.Table], level: str) -> Row:
    """Return the columns that identify a measurement: detector, trained_on, tested_on, split and level."""
    first = runs[0].slice(0, 1).to_pylist()[0]
    return {
        "detector": first["detector"],
        "trained_on": first["trained_on"],
        "tested_on": first["quality"],
        "split": first["split"],
        "level": level,
    }


def measure(runs: Sequence[pa.Table], settings: EvaluationSettings) -> list[Row]:
    """Return the metrics of each seed, and, of several seeds, their mean and standard deviation.

    The interval of a mean covers the variance between seeds too. It needs the same samples of every seed.
    """
    rows = [{"seed": seed_of(run), **compute_metrics(run, settings)} for run in runs]
    if len(runs) < 2:
        return rows
    mean, spread = (_seed_statistic(statistic, rows) for statistic in ("mean", "sd"))
    names = [name for name in ("video_id", "frame_index", "label", "person_id") if name in runs[0].column_names]
    if all(run.select(names).equals(runs[0].select(names)) for run in runs):
        labels, _, clusters = _arrays(runs[0])
        found = estimates(labels, [_arrays(run)[1] for run in runs], clusters)
        mean |= _ends(found) | {"generalises_to": clusters.generalises_to(len(runs))}
    return [*rows, mean, spread]


def seed_of(run: pa.Table) -> int:
    """Return the training seed of a table of samples."""
    return int(run["seed"][0].as_py())


def compute_metrics(samples: pa.Table, settings: EvaluationSettings) -> Row:
    """Return every metric of a set of samples with its interval, and the numbers of videos, frames and people."""
    labels, scores, clusters = _arrays(samples)
    found = estimates(labels, [scores], clusters)
    # Of a clip that could not be scored, the squared error is the greatest there is.
    probabilities = np.clip(scores, 0.0, 1.0)
    apcer = metrics.apcer(labels, scores, pc.fill_null(samples["action"], "").to_pylist())
    bpcer = metrics.bpcer(labels, scores)
    return {
        **{name: estimate.value for name, estimate in found.items()},
        **_ends(found),
        "brier": metrics.brier(labels, probabilities),
        "calibration_error": metrics.calibration_error(labels, probabilities, settings.calibration_bins),
        "apcer": apcer,
        "bpcer": bpcer,
        "acer": None if apcer is None or bpcer is None else (apcer + bpcer) / 2,
        "generalises_to": clusters.generalises_to(),
        "n_videos": len(pc.unique(samples["video_id"])),
        "n_frames": pc.sum(samples["frames"]).as_py() or 0,
        "n_people": clusters.n_people,
        "n_without_frames": len(pc.unique(samples.filter(pc.equal(samples["frames"], 0))["video_id"])),
    }


def sorted_rows(rows: Sequence[Row], key: Sequence[str]) -> list[Row]:
    """Return the rows sorted by key; those of one key stay in order: seeds, mean, sd."""
    return sorted(rows, key=lambda row: tuple(row[name] for name in key))


def _arrays(samples: pa.Table) -> tuple[Floats, Floats, Clusters]:
    labels = samples["label"].to_numpy().astype(np.float64)
    clusters = Clusters(labels, samples["person_id"].to_pylist(), samples["driver"].to_pylist())
    return labels, samples["score"].to_numpy().astype(np.float64), clusters


def _ends(found: dict[str, Estimate]) -> Row:
    row: Row = {f"{name}_low": estimate.interval.low for name, estimate in found.items()}
    return row | {f"{name}_high": estimate.interval.high for name, estimate in found.items()}


def _actions(runs: Sequence[pa.Table]) -> list[str]:
    named = {action for run in runs for action in run.filter(pc.equal(run["label"], 1))["action"].to_pylist()}
    return sorted(named - {"", None})


def _of_action(run: pa.Table, action: str) -> pa.Table:
    """Return the fakes of an action, and all reals."""
    return run.filter(pc.or_(pc.equal(run["label"], 0), pc.equal(pc.fill_null(run["action"], ""), action)))


def _seed_statistic(statistic: str, runs: Sequence[Row]) -> Row:
    row: Row = {"seed": statistic, "generalises_to": "", **dict.fromkeys(_INTERVALS)}
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
