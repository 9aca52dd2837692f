"""What scores are worth: accuracy, AUC, EER, AP, and their intervals. Pure functions over arrays.

Labels are 1 for fake and 0 for real; a score is P(fake), and a picture is called fake from 0.5 on. A number that one
class alone cannot give is None, never a made-up value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

THRESHOLD = 0.5

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A 95 % interval by bootstrap; both ends None where it is undefined."""

    low: float | None
    high: float | None


@dataclass(frozen=True)
class Bootstrap:
    """Intervals from one set of resamples.

    Args:
        accuracy: of the accuracy at 0.5, over all resamples.
        auc: over the resamples that held both classes.
        skipped: resamples that held one class only.
    """

    accuracy: Interval
    auc: Interval
    skipped: int


def accuracy(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float | None:
    """Return the share of samples on the right side of 0.5; None without samples."""
    y, s, w = _arrays(labels, scores, weights)
    total = w.sum()
    return float(w[(s >= THRESHOLD) == (y == 1)].sum() / total) if total > 0 else None


def class_accuracy(labels: ArrayLike, scores: ArrayLike, label: int) -> float | None:
    """Return the accuracy over the samples of one class; None when there are none."""
    y, s, _ = _arrays(labels, scores)
    return accuracy(y[y == label], s[y == label])


def balanced_accuracy(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """Return the mean of both classes' accuracies; None when a class is missing."""
    real, fake = class_accuracy(labels, scores, 0), class_accuracy(labels, scores, 1)
    return None if real is None or fake is None else (real + fake) / 2


def auc(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float | None:
    """Return the area under the ROC curve, ties counted half; None when a class is missing.

    It is the chance that a random fake has a higher score than a random real.
    """
    y, s, w = _arrays(labels, scores, weights)
    return _Sorted(y, s).auc(w)


def eer(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """Return the equal error rate: where false alarms and misses meet on the ROC curve, interpolated linearly."""
    curve = _roc(labels, scores)
    if curve is None:
        return None
    false_alarms, hits = curve
    gap = false_alarms - (1.0 - hits)  # rises from -1 to 1
    after = int(np.argmax(gap >= 0))
    before = after - 1
    step = -gap[before] / (gap[after] - gap[before])
    return float(false_alarms[before] + step * (false_alarms[after] - false_alarms[before]))


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """Return the average precision of finding fakes, without interpolation. It depends on the share of fakes."""
    y, s, _ = _arrays(labels, scores)
    if not _both_classes(y):
        return None
    fakes, reals = _counts_from_the_top(y, s)
    precision = fakes / (fakes + reals)
    recall = fakes / fakes[-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def bootstrap(labels: ArrayLike, scores: ArrayLike, people: Sequence[Any], resamples: int, seed: int) -> Bootstrap:
    """Resample people with everything of theirs and return percentile intervals of accuracy and AUC.

    Frames of a video and videos of a person are no independent samples: drawing them one by one would give
    intervals that are far too narrow. With fewer than two people there is no interval.

    Args:
        labels: (N,) 0 or 1.
        scores: (N,) P(fake).
        people: (N,) who each sample shows.
        resamples: how many draws.
        seed: of the draws.
    """
    y, s, _ = _arrays(labels, scores)
    names, person = np.unique(np.asarray(people, dtype=str), return_inverse=True)
    nothing = Interval(None, None)
    if len(names) < 2:
        return Bootstrap(nothing, nothing, 0)
    right = ((s >= THRESHOLD) == (y == 1)).astype(np.float64)
    right_of, all_of = np.bincount(person, right), np.bincount(person).astype(np.float64)
    ranked = _Sorted(y, s)
    # A resample is how often each person was drawn; that often each of their samples counts.
    draws = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
    accuracies = (draws @ right_of) / (draws @ all_of)
    aucs = [value for draw in draws if (value := ranked.auc(draw[person].astype(np.float64))) is not None]
    return Bootstrap(_percentiles(accuracies), _percentiles(np.array(aucs)), resamples - len(aucs))


class _Sorted:
    """Samples in the order of their scores, so that many weightings of them share one sort."""

    def __init__(self, labels: Floats, scores: Floats) -> None:
        self.order = np.argsort(scores, kind="stable")
        self.fake = labels[self.order] == 1
        ranked = scores[self.order]
        self.tie_starts = np.flatnonzero(np.diff(ranked, prepend=-np.inf)) if len(ranked) else np.array([], dtype=int)

    def auc(self, weights: Floats) -> float | None:
        w = weights[self.order]
        fake, real = np.where(self.fake, w, 0.0), np.where(self.fake, 0.0, w)
        pairs = fake.sum() * real.sum()
        if pairs == 0:
            return None
        fakes, reals = np.add.reduceat(fake, self.tie_starts), np.add.reduceat(real, self.tie_starts)
        below = np.cumsum(reals) - reals
        return float(np.sum(fakes * (below + reals / 2)) / pairs)


def _roc(labels: ArrayLike, scores: ArrayLike) -> tuple[Floats, Floats] | None:
    """Return false alarm and hit rates from (0, 0) to (1, 1), one point per distinct score."""
    y, s, _ = _arrays(labels, scores)
    if not _both_classes(y):
        return None
    fakes, reals = _counts_from_the_top(y, s)
    return np.concatenate([[0.0], reals / reals[-1]]), np.concatenate([[0.0], fakes / fakes[-1]])


def _counts_from_the_top(labels: Floats, scores: Floats) -> tuple[Floats, Floats]:
    """Return how many fakes and reals score at least each distinct score, highest score first."""
    order = np.argsort(-scores, kind="stable")
    ranked, fake = scores[order], labels[order] == 1
    ends = np.concatenate([np.flatnonzero(np.diff(ranked)), [len(ranked) - 1]])
    return np.cumsum(fake)[ends].astype(np.float64), np.cumsum(~fake)[ends].astype(np.float64)


def _both_classes(labels: Floats) -> bool:
    return bool((labels == 1).any() and (labels == 0).any())


def _percentiles(values: Floats) -> Interval:
    if len(values) < 2:
        return Interval(None, None)
    low, high = np.quantile(values, [0.025, 0.975])
    return Interval(float(low), float(high))


def _arrays(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> tuple[Floats, Floats, Floats]:
    """Return labels, scores and weights as arrays. Raises: ValueError for labels beside 0 and 1, or no number."""
    y, s = np.asarray(labels, np.float64), np.asarray(scores, np.float64)
    w = np.ones(len(y)) if weights is None else np.asarray(weights, np.float64)
    if y.ndim != 1 or y.shape != s.shape or y.shape != w.shape:
        raise ValueError(f"labels, scores and weights must be lists of one length, not {y.shape}, {s.shape}, {w.shape}")
    if not np.isin(y, (0, 1)).all():
        raise ValueError(f"labels are 0 (real) or 1 (fake), not {sorted(set(y.tolist()) - {0.0, 1.0})[:5]}")
    if not np.isfinite(s).all():
        raise ValueError(f"{int((~np.isfinite(s)).sum())} of {len(s)} scores are no finite number")
    return y, s, w
