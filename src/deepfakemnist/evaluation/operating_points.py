"""TPR at a fixed FPR with its interval: the threshold is an estimate too, and the uncertain one with few reals.

The interval joins two: that of the TPR at the threshold found, and the range of thresholds whose FPR may be the fixed
one, by Clopper & Pearson (1934) with the design effect of the reals; joined as distances in quadrature (MOVER, Zou &
Donner 2008). Too few reals to tell the threshold from one that nothing passes make the lower end 0.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from deepfakemnist.evaluation.clusters import Clusters
from deepfakemnist.evaluation.influence import mean_over
from deepfakemnist.evaluation.intervals import NO_INTERVAL, Interval, logit_interval
from deepfakemnist.evaluation.metrics import Ranking, as_arrays


def tpr_at_fpr(
    labels: ArrayLike, scores: ArrayLike, rate: float, clusters: Clusters, ranking: Ranking | None = None
) -> tuple[float | None, Interval]:
    """Return the highest TPR with an FPR of at most ``rate``, as metrics.tpr_at_fpr does, and its 95 % interval.

    Args:
        labels: (N,) 1 for fake, 0 for real.
        scores: (N,) P(fake).
        rate: the fixed FPR, 0..1.
        clusters: people and drivers of the samples.
        ranking: of these samples, if there is one already.
    """
    y, s, _ = as_arrays(labels, scores)
    ranking = ranking or Ranking(y, s)
    curve = ranking.curve(np.ones(len(y)))
    if curve is None:
        return None, NO_INTERVAL
    value = curve.tpr_at_fpr(rate)
    if clusters.too_few(0) or clusters.too_few(1):
        return value, NO_INTERVAL
    at = int(np.flatnonzero(curve.fpr <= rate + 1e-12)[-1])  # point of the curve; 0 lets nothing pass
    passing, fake = ranking.group_of_sample() < at, y == 1
    hits = clusters.sums(mean_over(passing.astype(np.float64), fake), 1).variance()
    here = logit_interval(value, hits, clusters.people_with(1))
    assert here.low is not None and here.high is not None

    alarms = np.where(fake, 0.0, passing - rate) / np.sum(~fake)
    low, high = _possible_counts(rate, int(np.sum(~fake)), clusters.sums_of(alarms, 0).variance().value)
    reals = np.rint(curve.fpr * np.sum(~fake))
    # With ``low`` reals above it, the threshold is at most the lowest of them: what lies above that passes.
    strict = 0.0 if low == 0 else float(curve.tpr[reals <= low - 1].max())
    lenient = float(curve.tpr[reals <= high].max())
    return value, Interval(
        max(0.0, value - float(np.hypot(value - here.low, value - strict))),
        min(1.0, value + float(np.hypot(here.high - value, lenient - value))),
    )


def _possible_counts(rate: float, reals: int, variance: float) -> tuple[int, int]:
    """Return the least and the greatest number of false positives that a threshold with this FPR may have."""
    # Independent reals have the least variance; correlated ones count as fewer trials.
    trials = min(float(reals), rate * (1 - rate) / variance) if variance > 0 else float(reals)
    trials = max(trials, 1.0)

    def upper(count: int) -> float:
        hits = count / reals * trials
        return 1.0 if count == reals else float(special.betaincinv(hits + 1, trials - hits, 0.975))

    def lower(count: int) -> float:
        hits = count / reals * trials
        return 0.0 if count == 0 else float(special.betaincinv(hits, trials - hits + 1, 0.025))

    return _first(lambda count: upper(count) >= rate, reals), _first(lambda count: lower(count) > rate, reals + 1) - 1


def _first(holds: Callable[[int], bool], end: int) -> int:
    """Return the least number below ``end`` for which a monotone condition holds; ``end`` if for none."""
    low, high = 0, end
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low
