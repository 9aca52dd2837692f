"""Influence functions of the metrics: how much each sample moves a metric, the basis of clustered variances.

The influence of a sample is the derivative of the metric with respect to the sample's weight (infinitesimal
jackknife). Summed over the samples of a person it says how much that person moves the metric, whatever the number of
their clips and frames; for the AUC these are the structural components of DeLong, DeLong & Clarke-Pearson (1988), and
their sums over clusters those of Obuchowski (1997). One sort gives all metrics; a bootstrap sums a thousand times.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from deepfakemnist.evaluation.metrics import THRESHOLD, Floats, Ranking, as_arrays

#: Metrics that are a mean over the samples of one class, or of all: name → label.
_SHARES: Mapping[str, int | None] = {"accuracy": None, "real_accuracy": 0, "fake_accuracy": 1}


@dataclass(frozen=True)
class Linearised:
    """A metric and the influence of every sample on it.

    Args:
        value: the metric, 0..1.
        influence: (N,) derivatives with respect to the samples' weights; they sum to 0.
    """

    value: float
    influence: Floats


def linearise(labels: ArrayLike, scores: ArrayLike, ranking: Ranking | None = None) -> dict[str, Linearised]:
    """Return the metrics that the samples define, with their influences; those of both classes need both.

    Keys are the names in metrics.tsv: accuracy, real_accuracy, fake_accuracy, balanced_accuracy, auc, eer and
    average_precision. TPR at a fixed FPR is no smooth function of the weights; see :mod:`.operating_points`.

    Args:
        labels: (N,) 1 for fake, 0 for real.
        scores: (N,) P(fake).
        ranking: of these samples, if there is one already.
    """
    y, s, _ = as_arrays(labels, scores)
    correct = ((s >= THRESHOLD) == (y == 1)).astype(np.float64)
    found = {
        name: mean_over(correct, np.ones(len(y), bool) if label is None else y == label)
        for name, label in _SHARES.items()
        if (len(y) if label is None else np.any(y == label))
    }
    if {"real_accuracy", "fake_accuracy"} <= set(found):
        halves = [found["real_accuracy"], found["fake_accuracy"]]
        found["balanced_accuracy"] = Linearised(
            sum(half.value for half in halves) / 2, (halves[0].influence + halves[1].influence) / 2
        )
        found |= _of_the_curve(y, ranking or Ranking(y, s))
    return found


def mean_over(values: Floats, included: np.ndarray) -> Linearised:
    """Return the mean of the included values, of which there is at least one."""
    mean = float(values[included].mean())
    return Linearised(mean, np.where(included, values - mean, 0.0) / included.sum())


def _of_the_curve(y: Floats, ranking: Ranking) -> dict[str, Linearised]:
    curve = ranking.curve(np.ones(len(y)))
    assert curve is not None  # both classes are there
    group, fake = ranking.group_of_sample(), y == 1
    n_fake, n_real = fake.sum(), (~fake).sum()
    middle_fpr, middle_tpr = ((rate[1:] + rate[:-1]) / 2 for rate in (curve.fpr, curve.tpr))

    auc = curve.auc()
    wins = np.where(fake, 1.0 - middle_fpr[group], middle_tpr[group])
    of_auc = (wins - auc) / np.where(fake, n_fake, n_real)

    precision_sum = curve.average_precision()
    above, reals_above = curve.tpr[1:] * n_fake, curve.fpr[1:] * n_real
    fakes_here = np.diff(curve.tpr) * n_fake
    total = above + reals_above
    # A fake raises the precision at its own score and below, a real lowers it there.
    gain = np.cumsum((fakes_here * reals_above / total**2)[::-1])[::-1]
    loss = np.cumsum((fakes_here * above / total**2)[::-1])[::-1]
    of_precision = np.where(fake, (above / total)[group] + gain[group] - precision_sum, -loss[group]) / n_fake

    eer = curve.eer()
    gap = curve.fpr[1:] - (1.0 - curve.tpr[1:])
    at = int(np.argmin(np.abs(gap)))
    # The EER is a weighted mean of FPR and miss rate; the weight follows from the slope of the curve around it.
    near = (curve.fpr >= eer / 2) & (curve.fpr <= 1.5 * eer)
    rise, run = (float(np.ptp(rate[near])) if near.any() else 0.0 for rate in (curve.tpr, curve.fpr))
    weight = rise / (rise + run) if rise + run > 0 else 0.5
    as_fake = (group <= at).astype(np.float64)
    false_positives, missed = mean_over(as_fake, ~fake), mean_over(1.0 - as_fake, fake)
    of_eer = weight * false_positives.influence + (1 - weight) * missed.influence
    return {
        "auc": Linearised(auc, of_auc),
        "eer": Linearised(eer, of_eer),
        "average_precision": Linearised(precision_sum, of_precision),
    }
