"""Detection metrics: accuracy, AUC, EER, average precision, calibration, APCER and BPCER.

Pure functions over arrays; confidence intervals are in :mod:`.estimates`. Labels are 1 for fake and 0 for real; a score
is P(fake), and a sample is classified as fake from 0.5 on. What needs both classes is None when one is missing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

THRESHOLD = 0.5

Floats = NDArray[np.float64]


def accuracy(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float | None:
    """Return the share of correctly classified samples; None without samples."""
    y, s, w = as_arrays(labels, scores, weights)
    total = w.sum()
    return float(w[(s >= THRESHOLD) == (y == 1)].sum() / total) if total > 0 else None


def class_accuracy(labels: ArrayLike, scores: ArrayLike, label: int) -> float | None:
    """Return the accuracy over the samples of one class; None without any."""
    y, s, _ = as_arrays(labels, scores)
    return accuracy(y[y == label], s[y == label])


def balanced_accuracy(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """Return the mean of the per-class accuracies; None when a class is missing."""
    real, fake = class_accuracy(labels, scores, 0), class_accuracy(labels, scores, 1)
    return None if real is None or fake is None else (real + fake) / 2


def auc(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float | None:
    """Return the area under the ROC curve, ties counted half; None when a class is missing.

    It is the probability that a random fake scores higher than a random real.
    """
    curve = _curve(labels, scores, weights)
    return None if curve is None else curve.auc()


def eer(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float | None:
    """Return the equal error rate: where FPR and miss rate are equal on the ROC curve, interpolated linearly."""
    curve = _curve(labels, scores, weights)
    return None if curve is None else curve.eer()


def average_precision(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float | None:
    """Return the average precision with fake as the positive class, uninterpolated; depends on the share of fakes."""
    curve = _curve(labels, scores, weights)
    return None if curve is None else curve.average_precision()


def tpr_at_fpr(labels: ArrayLike, scores: ArrayLike, rate: float, weights: ArrayLike | None = None) -> float | None:
    """Return the highest TPR over the thresholds with an FPR of at most ``rate``.

    Not interpolated: a threshold with this TPR exists. With fewer than 1 / rate reals it allows no false positive.
    """
    curve = _curve(labels, scores, weights)
    return None if curve is None else curve.tpr_at_fpr(rate)


def brier(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """Return the Brier score, the mean squared error of P(fake), 0..1, lower is better; None without samples."""
    y, s, _ = as_arrays(labels, scores)
    return float(np.mean((s - y) ** 2)) if len(y) else None


def calibration_error(labels: ArrayLike, scores: ArrayLike, bins: int = 15) -> float | None:
    """Return the expected calibration error (ECE): mean gap between P(fake) and the share of fakes over score bins.

    Args:
        labels: (N,) 0 or 1.
        scores: (N,) 0..1.
        bins: number of bins of equal width; the last one includes 1.

    Returns: 0..1; None without samples.
    """
    y, s, _ = as_arrays(labels, scores)
    if not len(y):
        return None
    bin_index = calibration_bins(s, bins)
    return float(np.abs(np.bincount(bin_index, s) - np.bincount(bin_index, y)).sum() / len(y))


def calibration_bins(scores: Floats, bins: int) -> NDArray[np.int64]:
    """Return the bin (N,) of each score, 0..bins - 1; bins have equal widths, and the last one includes 1."""
    return np.clip((scores * bins).astype(np.int64), 0, bins - 1)


def apcer(labels: ArrayLike, scores: ArrayLike, attacks: Sequence[str]) -> float | None:
    """Return the attack presentation classification error rate (APCER): the miss rate of the worst attack type.

    After ISO/IEC 30107-3, which rates a system by its worst attack type; here the types are facial actions.

    Args:
        labels: (N,) 0 or 1.
        scores: (N,) P(fake).
        attacks: (N,) attack type of each fake; entries of reals are ignored.
    """
    y, s, _ = as_arrays(labels, scores)
    kinds = np.asarray(attacks, dtype=str)
    rates = [float(np.mean(s[(y == 1) & (kinds == kind)] < THRESHOLD)) for kind in np.unique(kinds[y == 1])]
    return max(rates) if rates else None


def bpcer(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """Return the bona fide presentation classification error rate (BPCER): the share of reals classified as fake."""
    real_accuracy = class_accuracy(labels, scores, 0)
    return None if real_accuracy is None else 1.0 - real_accuracy


class Ranking:
    """Samples sorted by score, highest first, so that ROC curves under many weightings share one sort."""

    def __init__(self, labels: Floats, scores: Floats) -> None:
        self._order = np.argsort(-scores, kind="stable")
        self._fake = labels[self._order] == 1
        ranked = scores[self._order]
        self._ties = np.flatnonzero(np.diff(ranked, prepend=np.inf)) if len(ranked) else np.array([], dtype=int)

    def group_of_sample(self) -> NDArray[np.int64]:
        """Return the index (N,) of each sample's score among the distinct scores, highest first."""
        sizes = np.diff(self._ties, append=len(self._order))
        groups = np.empty(len(self._order), np.int64)
        groups[self._order] = np.repeat(np.arange(len(self._ties)), sizes)
        return groups

    def curve(self, weights: Floats) -> RocCurve | None:
        """Return the weighted ROC curve; None when a class has no weight."""
        w = weights[self._order]
        if not len(w):
            return None
        fakes = np.cumsum(np.add.reduceat(np.where(self._fake, w, 0.0), self._ties))
        reals = np.cumsum(np.add.reduceat(np.where(self._fake, 0.0, w), self._ties))
        return RocCurve(fakes, reals) if fakes[-1] > 0 and reals[-1] > 0 else None


class RocCurve:
    """ROC curve from the cumulative weights of fakes and reals at each distinct score, highest score first.

    Args:
        fakes: (K,) cumulative weights of fakes; the last is above 0.
        reals: (K,) cumulative weights of reals; the last is above 0.
    """

    def __init__(self, fakes: Floats, reals: Floats) -> None:
        self._fakes, self._reals = fakes, reals
        self.tpr = np.concatenate([[0.0], fakes / fakes[-1]])
        self.fpr = np.concatenate([[0.0], reals / reals[-1]])

    def auc(self) -> float:
        """Return the area under the curve."""
        return float(np.sum(np.diff(self.fpr) * (self.tpr[1:] + self.tpr[:-1]) / 2))

    def eer(self) -> float:
        """Return the rate at which FPR and miss rate are equal."""
        gap = self.fpr - (1.0 - self.tpr)  # rises from -1 to 1
        after = int(np.argmax(gap >= 0))
        before = after - 1
        step = -gap[before] / (gap[after] - gap[before])
        return float(self.fpr[before] + step * (self.fpr[after] - self.fpr[before]))

    def average_precision(self) -> float:
        """Return the mean precision over the fakes."""
        positives = self._fakes + self._reals
        precision = np.divide(self._fakes, positives, out=np.zeros_like(positives), where=positives > 0)
        return float(np.sum(np.diff(self.tpr) * precision))

    def tpr_at_fpr(self, rate: float) -> float:
        """Return the highest TPR with an FPR of at most ``rate``."""
        # Rounding can put an FPR an ulp above the rate it stands for.
        return float(self.tpr[self.fpr <= rate + 1e-12].max())


def _curve(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None) -> RocCurve | None:
    y, s, w = as_arrays(labels, scores, weights)
    return Ranking(y, s).curve(w)


def as_arrays(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> tuple[Floats, Floats, Floats]:
    """Return labels, scores and weights as arrays. Raises: ValueError for labels other than 0 and 1, or bad scores."""
    y, s = np.asarray(labels, np.float64), np.asarray(scores, np.float64)
    w = np.ones(len(y)) if weights is None else np.asarray(weights, np.float64)
    if y.ndim != 1 or y.shape != s.shape or y.shape != w.shape:
        raise ValueError(f"labels, scores and weights must have the same length, not {y.shape}, {s.shape}, {w.shape}")
    if not np.isin(y, (0, 1)).all():
        raise ValueError(f"labels must be 0 (real) or 1 (fake), not {sorted(set(y.tolist()) - {0.0, 1.0})[:5]}")
    if not np.isfinite(s).all():
        raise ValueError(f"{int((~np.isfinite(s)).sum())} of {len(s)} scores are not finite")
    return y, s, w
