"""Metrics of samples: of each run with its intervals, and the mean over seeds; one row per measurement."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepfakemnist.config.detectors import EvaluationSettings
from deepfakemnist.evaluation import metrics
from deepfakemnist.evaluation.aggregation import RUN, frame_level, video_level
from deepfakemnist.evaluation.clusters import Clusters
from deepfakemnist.evaluation.estimates import ESTIMATED, Estimate, RunMetrics, pooled, run_metrics
from deepfakemnist.evaluation.metrics import Floats
from deepfakemnist.tables.schemas import Row

KEY = ("detector", "trained_on", "tested_on", "split", "level")
#: Levels with per-action metrics and pairwise comparisons.
MAIN_LEVELS = ("frame", "video")
_INTERVALS = tuple(f"{name}_{end}" for name in ESTIMATED for end in ("low", "high"))
_POINTS = (*ESTIMATED, "brier", "calibration_error", "apcer", "bpcer", "acer")
_COUNTS = ("n_videos", "n_frames", "n_people", "n_without_frames")
_METRIC_COLUMNS = (
    *(column for name in ESTIMATED for column in (name, f"{name}_low", f"{name}_high")),
    *_POINTS[len(ESTIMATED) :],
    "generalises_to",
)
METRICS_COLUMNS = (*KEY, "seed", *_METRIC_COLUMNS, *_COUNTS)
ACTIONS_COLUMNS = (*KEY, "action", "seed", *_METRIC_COLUMNS, *_COUNTS)


def aggregate_levels(predictions: pa.Table, settings: EvaluationSettings) -> Iterator[tuple[str, pa.Table]]:
    """Yield the samples of every level: frame, video, video_median and video_top; one is in memory at a time."""
    yield "frame", frame_level(predictions)
    yield "video", video_level(predictions)
    yield "video_median", video_level(predictions, "median")
    yield "video_top", video_level(predictions, "top", settings.top_k)


def run_groups(samples: pa.Table) -> Iterator[list[pa.Table]]:
    """Yield the runs of each detector, training set, quality and split, a table per seed.

    Rows are in an order independent of the input's.
    """
    names = [name for name in (*RUN, "quality", "split") if name != "seed"]
    # Rounding of sums depends on the order within a group, so that must not depend on the input either.
    last = ["frame_index"] if "frame_index" in samples.column_names else []
    ordered = samples.sort_by([(name, "ascending") for name in (*names, "seed", "video_id", *last)])
    start = 0
    sizes = ordered.group_by([*names, "seed"], use_threads=False).aggregate([([], "count_all")]).to_pylist()
    for _, seeds in groupby(sizes, key=lambda row: [row[name] for name in names]):
        runs = []
        for row in seeds:
            runs.append(ordered.slice(start, row["count_all"]))
            start += row["count_all"]
        yield runs


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
    names = [name for name in ("video_id", "frame_index", "label", "person_id") if name in runs[0].column_names]
    alike = all(run.select(names).equals(runs[0].select(names)) for run in runs)
    labels, clusters = _labels(runs[0]), _clusters(runs[0])
    rows: list[Row] = []
    measured: list[RunMetrics] = []
    for run in runs:
        if not alike:
            labels, clusters = _labels(run), _clusters(run)
        measured.append(run_metrics(labels, _scores(run), clusters))
        rows.append({"seed": int(run["seed"][0].as_py()), **_columns(run, labels, measured[-1], clusters, settings)})
    if len(runs) < 2:
        return rows
    mean, spread = (_seed_statistic(statistic, rows) for statistic in ("mean", "sd"))
    if alike:
        mean |= _ends(pooled(measured, clusters)) | {"generalises_to": clusters.generalises_to(len(runs))}
    return [*rows, mean, spread]


def _columns(
    samples: pa.Table, labels: Floats, measured: RunMetrics, clusters: Clusters, settings: EvaluationSettings
) -> Row:
    """Return every metric of a run with its interval, and the numbers of videos, frames and people."""
    found, scores = pooled([measured], clusters), _scores(samples)
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


def sorted_rows(rows: Iterable[Row], key: Sequence[str]) -> list[Row]:
    """Return the rows sorted by key; those of one key stay in order: seeds, mean, sd."""
    return sorted(rows, key=lambda row: tuple(row[name] for name in key))


def _labels(samples: pa.Table) -> Floats:
    return np.asarray(samples["label"].to_numpy(), np.float64)


def _scores(samples: pa.Table) -> Floats:
    return np.asarray(samples["score"].to_numpy(), np.float64)


def _clusters(samples: pa.Table) -> Clusters:
    return Clusters(_labels(samples), samples["person_id"], samples["driver"])


def _ends(found: dict[str, Estimate]) -> Row:
    row: Row = {f"{name}_low": estimate.interval.low for name, estimate in found.items()}
    return row | {f"{name}_high": estimate.interval.high for name, estimate in found.items()}


def actions_of(runs: Sequence[pa.Table]) -> list[str]:
    """Return the actions of the fakes, sorted."""
    fakes = [pc.unique(run.filter(pc.equal(run["label"], 1))["action"]).to_pylist() for run in runs]
    return sorted({action for named in fakes for action in named} - {"", None})


def of_action(run: pa.Table, action: str) -> pa.Table:
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
