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
_CHUNK = 1 << 22  # labels in memory at once


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
    #: Upper limit of the AUCs of all facts, over all videos and over pairs, with confidence 1 - alpha for all together;
    #: None when no fact varies.
    auc_limit: float | None


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
        alpha: significance level, for the detectable AUC and the limit of the AUCs.
    """
    target = np.asarray(labels, np.float64)
    if not features.shape[1]:
        return Separation(None, 0.5, None, 1.0, None, None)
    ranks = _Ranks(features, target, people)
    observed = ranks.aucs(target[None])
    step = max(1, _CHUNK // len(target))
    chunks = (permutations[at : at + step] for at in range(0, len(permutations), step))
    values = np.concatenate([ranks.aucs(chunk.astype(np.float64)) for chunk in chunks])
    mean, spread = values.mean(0), values.std(0)
    scale = np.where(spread > 0, spread, np.inf)
    largest = (np.abs(values - mean) / scale).max(1)
    z = np.abs(observed[0] - mean) / scale
    p = float((1 + (largest >= z.max() - 1e-9).sum()) / (1 + len(values)))
    count = features.shape[1]
    fact = int(z.argmax()) % count
    of_pairs = observed[0, count + fact] if observed.shape[1] > count else None
    critical = float(np.quantile(largest, 1 - alpha))
    needed = critical + float(norm.ppf(POWER))
    fakes, reals = target.sum(), (1 - target).sum()
    # Of a fact without ties, by the rank-sum test.
    per_auc = float(np.sqrt((len(target) + 1) / (12 * fakes * reals)))
    return Separation(
        fact,
        _folded(observed[0, fact]),
        None if of_pairs is None else _folded(of_pairs),
        p,
        min(1.0, 0.5 + needed * per_auc),
        min(1.0, 0.5 + float((np.abs(observed[0] - mean) + critical * spread).max())),
    )


class _Ranks:
    """Ranks of the facts, over all videos and within people: what the AUCs of any labels follow from."""

    def __init__(self, features: Floats, target: Floats, people: Sequence[str]) -> None:
        person = np.unique(np.asarray(people, str), return_inverse=True)[1]
        self._overall = rankdata(features, axis=0)
        mixed = _is_mixed(target, person)
        inside = mixed[person]
        fakes, reals = (np.bincount(person[inside], label[inside], len(mixed)) for label in (target, 1 - target))
        self._pairs, self._least = (fakes * reals).sum(), (fakes * (fakes + 1) / 2).sum()
        self._within = np.zeros_like(features)
        by_person = np.argsort(person, kind="stable")
        for rows in np.split(by_person, np.cumsum(np.bincount(person))[:-1]):
            if inside[rows[0]]:
                self._within[rows] = rankdata(features[rows], axis=0)

    def aucs(self, labels: Floats) -> Floats:
        """Return the AUCs (R, F) of labels (R, N) over all videos, then (R, F) over pairs of one person, if any.

        Labels of people in both classes keep their numbers of each.
        """
        fakes = labels.sum(1, keepdims=True)
        reals = labels.shape[1] - fakes
        overall = (labels @ self._overall - fakes * (fakes + 1) / 2) / np.maximum(fakes * reals, 1)
        if not self._pairs:
            return np.asarray(overall)
        return np.hstack([overall, (labels @ self._within - self._least) / self._pairs])


def _is_mixed(target: NDArray[np.uint8] | Floats, person: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return for every person whether their videos are of both classes."""
    videos, fakes = np.bincount(person), np.bincount(person, target)
    return (fakes > 0) & (fakes < videos)


def _folded(auc: float) -> float:
    return float(max(auc, 1 - auc))
