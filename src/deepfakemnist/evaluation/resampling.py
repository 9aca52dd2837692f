"""Cluster bootstrap over people: 95 % confidence intervals and paired tests.

Frames of a video and videos of a person are not independent: resampling them individually gives intervals that are far
too narrow. Implemented here because scipy.stats.bootstrap resamples single observations, not clusters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepfakemnist.evaluation.metrics import THRESHOLD, Floats, Ranking, RocCurve, as_arrays

#: Metrics with a bootstrap interval, in the order of the tables' columns.
RESAMPLED = (
    "accuracy",
    "balanced_accuracy",
    "real_accuracy",
    "fake_accuracy",
    "auc",
    "eer",
    "average_precision",
    "tpr_at_fpr_1",
    "tpr_at_fpr_5",
)


@dataclass(frozen=True)
class Interval:
    """A 95 % bootstrap interval; both ends are None where it is undefined."""

    low: float | None
    high: float | None


@dataclass(frozen=True)
class Bootstrap:
    """Intervals from one set of resamples.

    Args:
        intervals: interval of every metric in RESAMPLED: accuracy over all resamples, per-class accuracy over those
            that contain the class, the others over those that contain both.
        skipped: number of resamples with a single class.
    """

    intervals: Mapping[str, Interval]
    skipped: int

    def __getitem__(self, name: str) -> Interval:
        return self.intervals[name]


@dataclass(frozen=True)
class Difference:
    """Difference in a metric between two detectors on the same samples.

    Args:
        value: first minus second; None where undefined.
        interval: its 95 % interval.
        p: two-sided p-value of the null hypothesis of no difference; None without an interval.
    """

    value: float | None
    interval: Interval
    p: float | None


def bootstrap(labels: ArrayLike, scores: ArrayLike, people: Sequence[Any], resamples: int, seed: int) -> Bootstrap:
    """Resample people, each with all of their samples, and return percentile intervals.

    With fewer than two people there is no interval.

    Args:
        labels: (N,) 0 or 1.
        scores: (N,) P(fake).
        people: (N,) person shown in each sample.
        resamples: number of resamples.
        seed: seed of the resamples.
    """
    y, s, _ = as_arrays(labels, scores)
    person, counts = _resample_people(people, resamples, seed)
    if counts is None:
        return Bootstrap({name: Interval(None, None) for name in RESAMPLED}, 0)
    values: dict[str, list[float]] = {name: [] for name in RESAMPLED}
    correct = _correct(y, s)
    values["accuracy"] = _resampled_means(counts, person, correct).tolist()
    of_real, of_fake = (_resampled_means(counts, person, correct, y == label) for label in (0, 1))
    values["real_accuracy"], values["fake_accuracy"] = (
        found[~np.isnan(found)].tolist() for found in (of_real, of_fake)
    )
    ranking = Ranking(y, s)
    for number, count in enumerate(counts):
        curve = ranking.curve(count[person].astype(np.float64))
        if curve is not None:
            values["balanced_accuracy"].append(float(of_real[number] + of_fake[number]) / 2)
            for name, value in _curve_metrics(curve).items():
                values[name].append(value)
    intervals = {name: _percentiles(np.array(found)) for name, found in values.items()}
    return Bootstrap(intervals, resamples - len(values["auc"]))


def paired_difference(
    labels: ArrayLike, first: ArrayLike, second: ArrayLike, people: Sequence[Any], resamples: int, seed: int
) -> dict[str, Difference]:
    """Compare two detectors on the same samples by a paired bootstrap over people.

    Both are evaluated on every resample, so what makes a person easy or hard for both cancels out. The p-value is twice
    the smaller share of resamples on one side of zero, counting the observed one.

    Args:
        labels: (N,) 0 or 1.
        first, second: (N,) P(fake) of the two detectors.
        people: (N,) person shown in each sample.
        resamples: number of resamples.
        seed: seed of the resamples.

    Returns: the differences first − second of ``accuracy`` and ``auc``.
    """
    y, a, _ = as_arrays(labels, first)
    _, b, _ = as_arrays(labels, second)
    person, counts = _resample_people(people, resamples, seed)
    ones = np.ones(len(y))
    rankings = Ranking(y, a), Ranking(y, b)
    curves = [ranking.curve(ones) for ranking in rankings]
    gain = _correct(y, a) - _correct(y, b)
    observed = {"accuracy": float(gain.mean()) if len(y) else None, "auc": _auc_difference(*curves)}
    if counts is None:
        return {name: Difference(value, Interval(None, None), None) for name, value in observed.items()}
    weights = (count[person].astype(np.float64) for count in counts)
    differences = [_auc_difference(*(ranking.curve(weight) for ranking in rankings)) for weight in weights]
    resampled = {
        "accuracy": _resampled_means(counts, person, gain),
        "auc": np.array([value for value in differences if value is not None]),
    }
    return {
        name: Difference(observed[name], _percentiles(values), _p_value(values) if len(values) > 1 else None)
        for name, values in resampled.items()
    }


def _resample_people(
    people: Sequence[Any], resamples: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """Return the person index (N,) of each sample and the counts (R, people) of each resample; None for one person."""
    names, person = np.unique(np.asarray(people, dtype=str), return_inverse=True)
    if len(names) < 2:
        return person, None
    shares = np.full(len(names), 1 / len(names))
    return person, np.random.default_rng(seed).multinomial(len(names), shares, size=resamples)


def _correct(labels: Floats, scores: Floats) -> Floats:
    return ((scores >= THRESHOLD) == (labels == 1)).astype(np.float64)


def _resampled_means(
    counts: NDArray[np.int64], person: NDArray[np.int64], values: Floats, mask: NDArray[np.bool_] | None = None
) -> Floats:
    """Return the mean of the (masked) values over the samples of each resample (R,); nan without samples."""
    included = np.ones(len(values)) if mask is None else mask.astype(np.float64)
    people = counts.shape[1]
    total = counts @ np.bincount(person, values * included, people)
    samples = counts @ np.bincount(person, included, people)
    return np.divide(total, samples, out=np.full(len(counts), np.nan), where=samples > 0)


def _curve_metrics(curve: RocCurve) -> dict[str, float]:
    return {
        "auc": curve.auc(),
        "eer": curve.eer(),
        "average_precision": curve.average_precision(),
        "tpr_at_fpr_1": curve.tpr_at_fpr(0.01),
        "tpr_at_fpr_5": curve.tpr_at_fpr(0.05),
    }


def _auc_difference(first: RocCurve | None, second: RocCurve | None) -> float | None:
    return None if first is None or second is None else first.auc() - second.auc()


def _p_value(values: Floats) -> float:
    side = min(np.sum(values <= 0), np.sum(values >= 0)) + 1
    return float(min(1.0, 2 * side / (len(values) + 1)))


def _percentiles(values: Floats) -> Interval:
    if len(values) < 2:
        return Interval(None, None)
    low, high = np.quantile(values, [0.025, 0.975])
    return Interval(float(low), float(high))
