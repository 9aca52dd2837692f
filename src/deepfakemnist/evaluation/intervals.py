"""Confidence intervals of metrics from clustered variances: t intervals on the logit scale, and TPR at a fixed FPR.

Closed forms, chosen by measurement: docs/statistics.md has the coverage of each, and of the percentile bootstrap over
people that they replace. Where the clusters do not vary at all, as when nothing is wrong, the variance cannot be
estimated, and each cluster counts as one trial.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from deepfakemnist.evaluation.clusters import Variance

_TAIL = 0.975


@dataclass(frozen=True)
class Interval:
    """A 95 % confidence interval; both ends are None where it is undefined."""

    low: float | None
    high: float | None


NO_INTERVAL = Interval(None, None)


def quantile(df: float) -> float:
    """Return the two-sided 95 % quantile of the t distribution."""
    return float(special.stdtrit(df, _TAIL))


def logit_interval(value: float, variance: Variance, clusters: int) -> Interval:
    """Return the interval of a metric between 0 and 1: symmetric on the logit scale, so that it stays between them.

    Args:
        value: the metric.
        variance: its variance and degrees of freedom.
        clusters: number of clusters; each is one trial of Wilson's (1927) interval where the variance is 0.
    """
    if not 0 < value < 1 or variance.value <= 0:
        return wilson(value, clusters, quantile(max(clusters - 1, 1)))
    reach = quantile(variance.df) * np.sqrt(variance.value) / (value * (1 - value))
    centre = np.log(value / (1 - value))
    low, high = 1 / (1 + np.exp(-np.clip([centre - reach, centre + reach], -700, 700)))
    return Interval(float(low), float(high))


def wilson(share: float, trials: float, z: float) -> Interval:
    """Return the score interval of a proportion (Wilson, 1927)."""
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    reach = z / (1 + z**2 / trials) * np.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    return Interval(float(max(centre - reach, 0.0)), float(min(centre + reach, 1.0)))
