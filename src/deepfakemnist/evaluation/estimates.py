"""Estimates of metrics with 95 % intervals, of one training seed or of the mean over several, and paired differences.

Over several seeds the variance is that of sampling people and drivers, from the mean influence over the seeds, plus
that of the mean over seeds, from their spread: an interval for what another training and another test set give.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from deepfakemnist.evaluation.clusters import Clusters, Variance
from deepfakemnist.evaluation.influence import Linearised, linearise
from deepfakemnist.evaluation.intervals import NO_INTERVAL, Interval, logit_interval, quantile
from deepfakemnist.evaluation.metrics import Floats, Ranking
from deepfakemnist.evaluation.operating_points import tpr_at_fpr

#: Metrics with an interval, in the order of the tables' columns.
ESTIMATED = (
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
#: Metrics in which detectors are compared.
COMPARED = ("accuracy", "balanced_accuracy", "auc")
_RATES: Mapping[str, float] = {"tpr_at_fpr_1": 0.01, "tpr_at_fpr_5": 0.05}
#: Classes whose samples a metric uses: 0 real, 1 fake, None for any.
_CLASSES: Mapping[str, tuple[int | None, ...]] = {"accuracy": (None,), "real_accuracy": (0,), "fake_accuracy": (1,)}


@dataclass(frozen=True)
class Estimate:
    """A metric and its 95 % interval; None where undefined."""

    value: float | None
    interval: Interval


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


@dataclass(frozen=True)
class Averaged:
    """A metric over the seeds of a detector, with the mean of its influences.

    Args:
        of_seeds: the metric of each seed.
        influence: (N,) mean over the seeds, see :class:`.influence.Linearised`.
    """

    of_seeds: Sequence[float]
    influence: Floats

    @property
    def value(self) -> float:
        """Mean of the metric."""
        return float(np.mean(self.of_seeds))


@dataclass(frozen=True)
class RunMetrics:
    """Metrics of one run, with what their intervals follow from.

    Args:
        linearised: see :func:`.influence.linearise`.
        rates: TPR at each fixed FPR by name, with its interval; None where a class is missing.
    """

    linearised: Mapping[str, Linearised]
    rates: Mapping[str, tuple[float | None, Interval]]


def run_metrics(labels: Floats, scores: Floats, clusters: Clusters) -> RunMetrics:
    """Return the metrics of a run, for :func:`pooled`; arguments as in :func:`estimates`."""
    ranking = Ranking(labels, scores)
    rates = {name: tpr_at_fpr(labels, scores, rate, clusters, ranking) for name, rate in _RATES.items()}
    return RunMetrics(linearise(labels, scores, ranking), rates)


def estimates(labels: Floats, scores: Sequence[Floats], clusters: Clusters) -> dict[str, Estimate]:
    """Return every metric in ESTIMATED: of a run, or the mean over the runs of several seeds.

    Args:
        labels: (N,) 1 for fake, 0 for real.
        scores: P(fake) (N,) of each seed.
        clusters: people and drivers of the samples.
    """
    return pooled([run_metrics(labels, one, clusters) for one in scores], clusters)


def pooled(runs: Sequence[RunMetrics], clusters: Clusters) -> dict[str, Estimate]:
    """Return every metric in ESTIMATED, the mean over the runs of several seeds on the same samples.

    Args:
        runs: the metrics of each seed.
        clusters: people and drivers of the samples.
    """
    found = {}
    for name in ESTIMATED:
        if name in _RATES:
            found[name] = _tpr([one.rates[name] for one in runs])
        elif name not in runs[0].linearised:
            found[name] = Estimate(None, NO_INTERVAL)
        else:
            parts = [one.linearised[name] for one in runs]
            value, variance = _pooled(parts, name, clusters)
            trials = min(clusters.people_with(label) for label in _classes(name))
            interval = NO_INTERVAL if variance is None else logit_interval(value, variance, trials)
            found[name] = Estimate(value, interval)
    return found


def paired_difference(
    labels: Floats, first: Sequence[Floats], second: Sequence[Floats], clusters: Clusters
) -> dict[str, Difference]:
    """Compare two detectors on the same samples in the metrics COMPARED; each is a mean over its seeds.

    What makes a person or a driver easy or hard for both cancels out. The p-value is that of a t test with the variance
    of the interval.

    Args:
        labels: (N,) 1 for fake, 0 for real.
        first, second: P(fake) (N,) of each seed of the two detectors.
        clusters: people and drivers of the samples.
    """
    sides = [compared_metrics([linearise(labels, scores) for scores in runs]) for runs in (first, second)]
    return averaged_difference(sides[0], sides[1], clusters)


def compared_metrics(seeds: Sequence[Mapping[str, Linearised]]) -> dict[str, Averaged]:
    """Return the metrics COMPARED of a detector, averaged over its seeds; without those that are undefined."""
    return {name: _average([one[name] for one in seeds]) for name in COMPARED if name in seeds[0]}


def averaged_difference(
    first: Mapping[str, Averaged], second: Mapping[str, Averaged], clusters: Clusters
) -> dict[str, Difference]:
    """Compare two detectors as :func:`paired_difference` does, by what :func:`compared_metrics` returns."""
    found = {}
    for name in COMPARED:
        if name not in first:
            found[name] = Difference(None, NO_INTERVAL, None)
            continue
        one, other = first[name], second[name]
        value = one.value - other.value
        if any(clusters.too_few(label) for label in _classes(name)):
            found[name] = Difference(value, NO_INTERVAL, None)
            continue
        sampling = clusters.sums_of(one.influence - other.influence).variance()
        if sampling.value == 0:
            # No person differs from another: as if one in n did, of whom none was seen.
            z = quantile(clusters.n_people - 1)
            sampling = Variance((z / (clusters.n_people + z**2)) ** 2, clusters.n_people - 1)
        total = _sum([sampling, _of_seeds(one), _of_seeds(other)])
        error = np.sqrt(total.value)
        reach = quantile(total.df) * error
        p = float(2 * special.stdtr(total.df, -abs(value) / error))
        interval = Interval(max(-1.0, value - reach), min(1.0, value + reach))
        found[name] = Difference(value, interval, p)
    return found


def _classes(name: str) -> tuple[int | None, ...]:
    return _CLASSES.get(name, (0, 1))


def _pooled(parts: Sequence[Linearised], name: str, clusters: Clusters) -> tuple[float, Variance | None]:
    """Return the mean over seeds with its variance; None with too few people in a class that the metric uses."""
    mean = _average(parts)
    classes = _classes(name)
    if any(clusters.too_few(label) for label in classes):
        return mean.value, None
    sampling = clusters.sums_of(mean.influence, classes[0] if len(classes) == 1 else None).variance()
    return mean.value, _sum([sampling, _of_seeds(mean)])


def _average(parts: Sequence[Linearised]) -> Averaged:
    return Averaged([part.value for part in parts], np.mean([part.influence for part in parts], axis=0))


def _of_seeds(mean: Averaged) -> Variance:
    """Return the variance of a mean over seeds due to training; 0 with a single seed, which does not show it."""
    seeds = len(mean.of_seeds)
    if seeds < 2:
        return Variance(0.0, 1.0)
    return Variance(float(np.var(mean.of_seeds, ddof=1)) / seeds, seeds - 1)


def _sum(parts: Sequence[Variance]) -> Variance:
    """Return the sum of independent variances, with Satterthwaite's degrees of freedom."""
    total = sum(part.value for part in parts)
    if total == 0:
        return parts[0]
    return Variance(total, total**2 / sum(part.value**2 / part.df for part in parts))


def _tpr(runs: Sequence[tuple[float | None, Interval]]) -> Estimate:
    """Return the mean TPR over seeds; sampling distances are averaged, for the same people are hard for all seeds."""
    values, ends = [], []
    for value, interval in runs:
        if value is None:
            return Estimate(None, NO_INTERVAL)
        values.append(value)
        if interval.low is not None and interval.high is not None:
            ends.append((value - interval.low, interval.high - value))
    mean = float(np.mean(values))
    if not ends:
        return Estimate(mean, NO_INTERVAL)
    reach = 0.0
    if len(values) > 1:
        reach = quantile(len(values) - 1) * float(np.std(values, ddof=1)) / np.sqrt(len(values))
    below, above = (float(np.hypot(distance, reach)) for distance in np.mean(ends, axis=0))
    return Estimate(mean, Interval(max(0.0, mean - below), min(1.0, mean + above)))
