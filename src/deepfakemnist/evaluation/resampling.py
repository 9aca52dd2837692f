"""How far numbers can be trusted: 95 % intervals and paired tests, by drawing people, never frames.

Frames of a video and videos of a person are no independent samples: drawing them one by one would give intervals that
are far too narrow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepfakemnist.evaluation.metrics import THRESHOLD, Curve, Floats, Ranking, as_arrays

#: What is resampled, in the order of the tables.
RESAMPLED = (
    *("accuracy", "balanced_accuracy", "real_accuracy", "fake_accuracy"),
    *("auc", "eer", "average_precision", "tpr_at_fpr_1", "tpr_at_fpr_5"),
)


@dataclass(frozen=True)
class Interval:
    """A 95 % interval by bootstrap; both ends None where it is undefined."""

    low: float | None
    high: float | None


@dataclass(frozen=True)
class Bootstrap:
    """Intervals from one set of resamples.

    Args:
        intervals: of every name in RESAMPLED; that of accuracy over all resamples, those of one class's accuracy over
            those that held the class, the others over those that held both.
        skipped: resamples that held one class only.
    """

    intervals: Mapping[str, Interval]
    skipped: int

    def __getitem__(self, name: str) -> Interval:
        return self.intervals[name]


@dataclass(frozen=True)
class Difference:
    """How much better one detector is than another on the same samples.

    Args:
        value: first minus second; None where it is undefined.
        interval: 95 % interval of it.
        p: two-sided p-value of no difference; None without an interval.
    """

    value: float | None
    interval: Interval
    p: float | None


def bootstrap(labels: ArrayLike, scores: ArrayLike, people: Sequence[Any], resamples: int, seed: int) -> Bootstrap:
    """Resample people with everything of theirs and return percentile intervals.

    With fewer than two people there is no interval.

    Args:
        labels: (N,) 0 or 1.
        scores: (N,) P(fake).
        people: (N,) who each sample shows.
        resamples: how many draws.
        seed: of the draws.
    """
    y, s, _ = as_arrays(labels, scores)
    person, draws = _draw(people, resamples, seed)
    if draws is None:
        return Bootstrap({name: Interval(None, None) for name in RESAMPLED}, 0)
    values: dict[str, list[float]] = {name: [] for name in RESAMPLED}
    right = _right(y, s)
    values["accuracy"] = _means(draws, person, right).tolist()
    of_real, of_fake = (_means(draws, person, right, y == label) for label in (0, 1))
    values["real_accuracy"], values["fake_accuracy"] = (
        found[~np.isnan(found)].tolist() for found in (of_real, of_fake)
    )
    ranking = Ranking(y, s)
    for number, draw in enumerate(draws):
        curve = ranking.curve(draw[person].astype(np.float64))
        if curve is not None:
            values["balanced_accuracy"].append(float(of_real[number] + of_fake[number]) / 2)
            for name, value in _of_curve(curve).items():
                values[name].append(value)
    intervals = {name: _percentiles(np.array(found)) for name, found in values.items()}
    return Bootstrap(intervals, resamples - len(values["auc"]))


def paired_difference(
    labels: ArrayLike, first: ArrayLike, second: ArrayLike, people: Sequence[Any], resamples: int, seed: int
) -> dict[str, Difference]:
    """Compare two detectors' scores of the same samples by a paired bootstrap over people.

    Both are measured on every draw of people, so what makes a person easy or hard for both cancels out. The p-value is
    twice the smaller share of draws on one side of zero, counting the observed one.

    Args:
        labels: (N,) 0 or 1.
        first, second: (N,) P(fake) of the two detectors.
        people: (N,) who each sample shows.
        resamples: how many draws.
        seed: of the draws.

    Returns: the differences first − second of ``accuracy`` and ``auc``.
    """
    y, a, _ = as_arrays(labels, first)
    _, b, _ = as_arrays(labels, second)
    person, draws = _draw(people, resamples, seed)
    ones = np.ones(len(y))
    rankings = Ranking(y, a), Ranking(y, b)
    curves = [ranking.curve(ones) for ranking in rankings]
    gain = _right(y, a) - _right(y, b)
    observed = {"accuracy": float(gain.mean()) if len(y) else None, "auc": _auc_gap(*curves)}
    if draws is None:
        return {name: Difference(value, Interval(None, None), None) for name, value in observed.items()}
    gaps = {"accuracy": _means(draws, person, gain), "auc": np.array([])}
    weights = (draw[person].astype(np.float64) for draw in draws)
    found = [_auc_gap(*(ranking.curve(weight) for ranking in rankings)) for weight in weights]
    gaps["auc"] = np.array([value for value in found if value is not None])
    return {
        name: Difference(observed[name], _percentiles(values), _p_value(values) if len(values) > 1 else None)
        for name, values in gaps.items()
    }


def _draw(people: Sequence[Any], resamples: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """Return the person (N,) of each sample, and how often each draw (R, people) has each; None for one person."""
    names, person = np.unique(np.asarray(people, dtype=str), return_inverse=True)
    if len(names) < 2:
        return person, None
    shares = np.full(len(names), 1 / len(names))
    return person, np.random.default_rng(seed).multinomial(len(names), shares, size=resamples)


def _right(labels: Floats, scores: Floats) -> Floats:
    return ((scores >= THRESHOLD) == (labels == 1)).astype(np.float64)


def _means(
    draws: NDArray[np.int64], person: NDArray[np.int64], values: Floats, which: NDArray[np.bool_] | None = None
) -> Floats:
    """Return the mean of values over the samples of each draw (R,), or over some of them; nan where there are none."""
    counted = np.ones(len(values)) if which is None else which.astype(np.float64)
    people = draws.shape[1]
    total = draws @ np.bincount(person, values * counted, people)
    count = draws @ np.bincount(person, counted, people)
    return np.divide(total, count, out=np.full(len(draws), np.nan), where=count > 0)


def _of_curve(curve: Curve) -> dict[str, float]:
    return {
        "auc": curve.auc(),
        "eer": curve.eer(),
        "average_precision": curve.average_precision(),
        "tpr_at_fpr_1": curve.tpr_at_fpr(0.01),
        "tpr_at_fpr_5": curve.tpr_at_fpr(0.05),
    }


def _auc_gap(first: Curve | None, second: Curve | None) -> float | None:
    return None if first is None or second is None else first.auc() - second.auc()


def _p_value(values: Floats) -> float:
    side = min(np.sum(values <= 0), np.sum(values >= 0)) + 1
    return float(min(1.0, 2 * side / (len(values) + 1)))


def _percentiles(values: Floats) -> Interval:
    if len(values) < 2:
        return Interval(None, None)
    low, high = np.quantile(values, [0.025, 0.975])
    return Interval(float(low), float(high))
