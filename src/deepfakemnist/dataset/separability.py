"""Permutation test of whether facts about videos separate two classes, and how small a difference it would find.

Labels are permuted within each person, so that neither several videos of one person nor people with more fakes count as
evidence. The largest statistic over all facts is compared with the largest of each permutation (Westfall and Young
1993), which adjusts for the number of facts and for what they share.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

Floats = NDArray[np.float64]

#: Chance of finding a difference that :attr:`Separation.detectable_auc` names.
POWER = 0.8
_CHUNK = 1 << 24  # labels in memory at once


class Separation(NamedTuple):
    """How well the most telling of several facts separates the classes."""

    #: Index of the fact; None when no fact varies.
    fact: int | None
    #: Its AUC over all videos, 0.5..1: a random video of one class against a random one of the other.
    auc: float
    #: The same over pairs of videos of one person; None when nobody is in both classes.
    pair_auc: float | None
    #: p-value of "no fact differs", adjusted for the number of facts.
    p: float
    #: AUC of a fact that would be found significant with probability POWER; None when no fact varies.
    detectable_auc: float | None


def permuted_labels(labels: Sequence[int], people: Sequence[str], count: int, seed: int) -> NDArray[np.uint8]:
    """Return permutations (count, N) of the labels, within people.

    Where fewer than half of the videos are of people in both classes, as in datasets whose fakes show other people than
    their reals, the classes of whole people are permuted as well.
    """
    target = np.asarray(labels, np.uint8)
    _, person = np.unique(np.asarray(people, str), return_inverse=True)
    mixed = _is_mixed(target, person)
    by_person = np.argsort(person, kind="stable")
    rng = np.random.default_rng(seed)
    out = np.empty((count, len(target)), np.uint8)
    step = max(1, _CHUNK // len(target))
    for start in range(0, count, step):
        keys = person + rng.random((min(step, count - start), len(target)))
        np.put_along_axis(out[start : start + step], np.argsort(keys, axis=1), target[by_person][None], axis=1)
    if mixed[person].mean() < 0.5:
        single = np.flatnonzero(~mixed)
        label_of = np.zeros(len(mixed), np.uint8)
        label_of[person] = target
        for row in out:
            shuffled = label_of.copy()
            shuffled[single] = rng.permutation(label_of[single])
            row[:] = np.where(mixed[person], row, shuffled[person])
    return out


def separate(
    features: Floats, labels: Sequence[int], people: Sequence[str], permutations: NDArray[np.uint8], alpha: float
) -> Separation:
    """Return the most telling fact with its adjusted p-value.

    Args:
        features: (N, F) facts.
        labels: (N,) 0 or 1, both present.
        people: (N,) person in each video.
        permutations: (R, N) from :func:`permuted_labels`.
        alpha: significance level, for the detectable AUC.
    """
    target = np.asarray(labels, np.float64)
    if not features.shape[1]:
        return Separation(None, 0.5, None, 1.0, None)
    _, person = np.unique(np.asarray(people, str), return_inverse=True)
    observed = _statistics(features, person, target, target[None])
    values = np.concatenate(
        [
            _statistics(features, person, target, permutations[at : at + 256].astype(np.float64))
            for at in range(0, len(permutations), 256)
        ]
    )
    mean, spread = values.mean(0), values.std(0)
    scale = np.where(spread > 0, spread, np.inf)
    largest = (np.abs(values - mean) / scale).max(1)
    z = np.abs(observed[0] - mean) / scale
    p = float((1 + (largest >= z.max() - 1e-9).sum()) / (1 + len(values)))
    count = features.shape[1]
    fact = int(z.argmax()) % count
    of_pairs = observed[0, count + fact] if observed.shape[1] > count else None
    needed = float(np.quantile(largest, 1 - alpha)) + float(norm.ppf(POWER))
    fakes, reals = target.sum(), (1 - target).sum()
    # Of a fact without ties, by the rank-sum test.
    per_auc = float(np.sqrt((len(target) + 1) / (12 * fakes * reals)))
    return Separation(
        fact,
        _folded(observed[0, fact]),
        None if of_pairs is None else _folded(of_pairs),
        p,
        min(1.0, 0.5 + needed * per_auc),
    )


def _statistics(features: Floats, person: NDArray[np.int64], target: Floats, labels: Floats) -> Floats:
    """Return the AUCs (R, F) of each fact over all videos, then (R, F) over pairs of one person where there are any."""
    fakes = labels.sum(1, keepdims=True)
    reals = labels.shape[1] - fakes
    sums = labels @ rankdata(features, axis=0)
    overall = (sums - fakes * (fakes + 1) / 2) / np.maximum(fakes * reals, 1)
    mixed = _is_mixed(target, person)
    if not mixed.any():
        return np.asarray(overall)
    inside = mixed[person]
    ranks = np.zeros_like(features)
    for one in np.flatnonzero(mixed):
        rows = person == one
        ranks[rows] = rankdata(features[rows], axis=0)
    fakes_of = np.bincount(person[inside], target[inside], len(mixed))
    reals_of = np.bincount(person[inside], 1 - target[inside], len(mixed))
    least = (fakes_of * (fakes_of + 1) / 2).sum()
    return np.hstack([overall, (labels @ ranks - least) / (fakes_of * reals_of).sum()])


def _is_mixed(target: NDArray[np.uint8] | Floats, person: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return for every person whether their videos are of both classes."""
    videos, fakes = np.bincount(person), np.bincount(person, target)
    return (fakes > 0) & (fakes < videos)


def _folded(auc: float) -> float:
    return float(max(auc, 1 - auc))
