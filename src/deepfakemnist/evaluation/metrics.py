"""What scores are worth: accuracy, AUC, EER and the rest. Pure functions over arrays; intervals are in ``resampling``.

Labels are 1 for fake and 0 for real; a score is P(fake), and a picture is called fake from 0.5 on. A number that one
class alone cannot give is None, never a made-up value.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

THRESHOLD = 0.5

Floats = NDArray[np.float64]


def accuracy(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float | None:
    """Return the share of samples on the right side of 0.5; None without samples."""
    y, s, w = as_arrays(labels, scores, weights)
    total = w.sum()
    return float(w[(s >= THRESHOLD) == (y == 1)].sum() / total) if total > 0 else None


def class_accuracy(labels: ArrayLike, scores: ArrayLike, label: int) -> float | None:
    """Return the accuracy over the samples of one class; None when there are none."""
    y, s, _ = as_arrays(labels, scores)
    return accuracy(y[y == label], s[y == label])


def balanced_accuracy(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """Return the mean of both classes' accuracies; None when a class is missing."""
    real, fake = class_accuracy(labels, scores, 0), class_accuracy(labels, scores, 1)
    return None if real is None or fake is None else (real + fake) / 2


def auc(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float | None:
    """Return the area under the ROC curve, ties counted half; None when a class is missing.

    It is the chance that a random fake has a higher score than a random real.
    """
    curve = _curve(labels, scores, weights)
    return None if curve is None else curve.auc()


def eer(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float | None:
    """Return the equal error rate: where false alarms and misses meet on the ROC curve, interpolated linearly."""
    curve = _curve(labels, scores, weights)
    return None if curve is None else curve.eer()


def average_precision(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float | None:
    """Return the average precision of finding fakes, without interpolation. It depends on the share of fakes."""
    curve = _curve(labels, scores, weights)
    return None if curve is None else curve.average_precision()


def tpr_at_fpr(labels: ArrayLike, scores: ArrayLike, rate: float, weights: ArrayLike | None = None) -> float | None:
    """Return the largest share of fakes found at a threshold that calls at most ``rate`` of the reals fake.

    Not interpolated: a threshold that does this exists. With fewer than 1 / rate reals it means no false alarm at all.
    """
    curve = _curve(labels, scores, weights)
    return None if curve is None else curve.tpr_at_fpr(rate)


def brier(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """Return the mean squared distance of score and label, 0..1, lower is better; None without samples."""
    y, s, _ = as_arrays(labels, scores)
    return float(np.mean((s - y) ** 2)) if len(y) else None


def calibration_error(labels: ArrayLike, scores: ArrayLike, bins: int = 15) -> float | None:
    """Return the expected calibration error of P(fake): mean distance of score and share of fakes in bins of scores.

    Args:
        labels: (N,) 0 or 1.
        scores: (N,) 0..1.
        bins: of equal width; the last one holds 1 too.

    Returns: 0..1; None without samples.
    """
    y, s, _ = as_arrays(labels, scores)
    if not len(y):
        return None
    place = np.clip((s * bins).astype(int), 0, bins - 1)
    return float(np.abs(np.bincount(place, s) - np.bincount(place, y)).sum() / len(y))


def apcer(labels: ArrayLike, scores: ArrayLike, attacks: Sequence[str]) -> float | None:
    """Return the attack presentation classification error rate: misses among the fakes of the worst kind of attack.

    After ISO/IEC 30107-3, where a system is as good as its worst kind; kinds are facial actions here.

    Args:
        labels: (N,) 0 or 1.
        scores: (N,) P(fake).
        attacks: (N,) kind of each fake; those of reals are not looked at.
    """
    y, s, _ = as_arrays(labels, scores)
    kinds = np.asarray(attacks, dtype=str)
    rates = [float(np.mean(s[(y == 1) & (kinds == kind)] < THRESHOLD)) for kind in np.unique(kinds[y == 1])]
    return max(rates) if rates else None


def bpcer(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """Return the bona fide presentation classification error rate: the share of reals called fake."""
    right = class_accuracy(labels, scores, 0)
    return None if right is None else 1.0 - right


class Ranking:
    """Samples in the order of their scores, highest first, so that many weightings of them share one sort."""

    def __init__(self, labels: Floats, scores: Floats) -> None:
        self._order = np.argsort(-scores, kind="stable")
        self._fake = labels[self._order] == 1
        ranked = scores[self._order]
        self._ties = np.flatnonzero(np.diff(ranked, prepend=np.inf)) if len(ranked) else np.array([], dtype=int)

    def curve(self, weights: Floats) -> Curve | None:
        """Return the ROC curve where each sample counts as often as its weight says; None when a class is missing."""
        w = weights[self._order]
        if not len(w):
            return None
        fakes = np.cumsum(np.add.reduceat(np.where(self._fake, w, 0.0), self._ties))
        reals = np.cumsum(np.add.reduceat(np.where(self._fake, 0.0, w), self._ties))
        return Curve(fakes, reals) if fakes[-1] > 0 and reals[-1] > 0 else None


class Curve:
    """A ROC curve: fakes and reals with at least each distinct score, highest score first.

    Args:
        fakes: (K,) sums of weights, rising; the last is above 0.
        reals: (K,) the same of reals.
    """

    def __init__(self, fakes: Floats, reals: Floats) -> None:
        self._fakes, self._reals = fakes, reals
        self.hits = np.concatenate([[0.0], fakes / fakes[-1]])
        self.false_alarms = np.concatenate([[0.0], reals / reals[-1]])

    def auc(self) -> float:
        """Return the area below the curve."""
        return float(np.sum(np.diff(self.false_alarms) * (self.hits[1:] + self.hits[:-1]) / 2))

    def eer(self) -> float:
        """Return the rate at which false alarms equal misses."""
        gap = self.false_alarms - (1.0 - self.hits)  # rises from -1 to 1
        after = int(np.argmax(gap >= 0))
        before = after - 1
        step = -gap[before] / (gap[after] - gap[before])
        return float(self.false_alarms[before] + step * (self.false_alarms[after] - self.false_alarms[before]))

    def average_precision(self) -> float:
        """Return the mean precision over the fakes."""
        found = self._fakes + self._reals
        precision = np.divide(self._fakes, found, out=np.zeros_like(found), where=found > 0)
        return float(np.sum(np.diff(self.hits) * precision))

    def tpr_at_fpr(self, rate: float) -> float:
        """Return the share of fakes found with at most this share of false alarms."""
        # Sums of fractions may end an ulp above the rate that they stand for.
        return float(self.hits[self.false_alarms <= rate + 1e-12].max())


def _curve(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None) -> Curve | None:
    y, s, w = as_arrays(labels, scores, weights)
    return Ranking(y, s).curve(w)


def as_arrays(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> tuple[Floats, Floats, Floats]:
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
