"""Cluster-robust variances over people, and over people and drivers: what the samples of a test set repeat.

Frames of a video and videos of a person are not independent, nor are fakes with one driver. With drivers shared
between people, the variance is that over people plus that over drivers minus that over their pairs (two-way clustering:
Cameron, Gelbach & Miller 2011), so that it holds for new people and new drivers. Reals have no driver.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from deepfakemnist.evaluation.influence import Linearised
from deepfakemnist.evaluation.metrics import Floats

#: Fewer people, or fewer drivers, do not show how much people or drivers differ; measured in docs/statistics.md.
MIN_CLUSTERS = 10
Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Variance:
    """A variance and its degrees of freedom for a t distribution."""

    value: float
    df: float


@dataclass(frozen=True)
class ClusterSums:
    """Influence on a metric, summed over clusters; linear, so that detectors are subtracted and seeds averaged.

    Args:
        person: (people,) sums over the samples of each person.
        driver: (drivers,) sums over the fakes of each driver; empty with one-way clustering.
        pair: (pairs,) sums over the fakes of each pair of person and driver; empty with one-way clustering.
        n_people: number of people with samples that the metric uses.
    """

    person: Floats
    driver: Floats
    pair: Floats
    n_people: int

    def variance(self) -> Variance:
        """Return the variance of the metric."""
        people = _one_way(self.person, self.n_people)
        if not len(self.driver):
            return people
        drivers, pairs = _one_way(self.driver, len(self.driver)), _one_way(self.pair, len(self.pair))
        # Sums of few drivers are skewed: without this factor, coverage with 10 drivers is 1 point lower (measured).
        # Driver and pair variances are both estimates, and their difference may be negative.
        added = max(drivers.value * len(self.driver) / (len(self.driver) - 1) - pairs.value, 0.0)
        total = people.value + added
        if total == 0:
            return people
        # Satterthwaite's degrees of freedom of the sum.
        return Variance(total, total**2 / (people.value**2 / people.df + added**2 / drivers.df))


class Clusters:
    """People and drivers of a set of samples.

    Args:
        labels: (N,) 1 for fake, 0 for real.
        people: (N,) person in each sample: a sequence, or a column of a table.
        drivers: (N,) driver of each fake, None or empty where unknown; likewise. Entries of reals are ignored.
    """

    def __init__(self, labels: ArrayLike, people: Any, drivers: Any = None) -> None:
        self._fake = np.asarray(labels) == 1
        self._person = _codes(people)
        self.n_people = _count(self._person)
        self._people_with: dict[int | None, int] = {None: self.n_people}
        for label in (0, 1):
            self._people_with[label] = len(np.unique(self._person[self._fake == (label == 1)]))
        self._driver = self._pair = np.empty(0, np.int64)
        chosen = np.flatnonzero(self._fake)
        known = pa.nulls(0) if drivers is None else _array(drivers).take(chosen)
        empty = pc.fill_null(pc.equal(known, ""), True) if pa.types.is_string(known.type) else pc.is_null(known)
        self._known = len(known) == len(chosen) and not pc.any(empty).as_py()
        driver = _codes(known if self._known else [])
        pair = _codes(self._person[chosen] * (len(chosen) + 1) + driver if self._known else [])
        self.n_drivers = _count(driver)
        # A driver of one person alone is part of what varies with that person.
        self._shared = _count(pair) > self.n_drivers
        if self._shared and self.n_drivers >= MIN_CLUSTERS:
            self._driver, self._pair = driver, pair

    def people_with(self, label: int | None) -> int:
        """Return the number of people with samples of a class, or of any."""
        return self._people_with[label]

    def too_few(self, label: int | None = None) -> bool:
        """Say whether there are too few people, with samples of a class or of any, for an interval."""
        return self.people_with(label) < MIN_CLUSTERS

    def generalises_to(self, seeds: int = 1) -> str:
        """Say what the intervals hold for, as in column ``generalises_to``; or ``too few people (n)``.

        Args:
            seeds: number of training seeds whose mean the interval is for; one does not show how much they differ.
        """
        if self.too_few():
            return f"too few people ({self.n_people})"
        parts = ["new people"]
        if len(self._driver):
            parts = ["new people and drivers"]
        elif self._fake.any() and not self._known:
            parts.append("drivers unknown")
        elif self._shared:
            parts.append(f"these {self.n_drivers} drivers")
        parts.append("new seeds" if seeds > 1 else "this seed")
        for label, name in enumerate(("reals", "fakes")):
            if 0 < self.people_with(label) < MIN_CLUSTERS:
                parts.append(f"too few people with {name} ({self.people_with(label)})")
        return "; ".join(parts)

    def sums(self, metric: Linearised, label: int | None = None) -> ClusterSums:
        """Return the influences on a metric, summed over people, drivers and pairs.

        Args:
            metric: the metric, of the same samples.
            label: the class that the metric is about; None for both.
        """
        return self.sums_of(metric.influence, label)

    def sums_of(self, influence: Floats, label: int | None = None) -> ClusterSums:
        """Return influences (N,), summed over people, drivers and pairs."""
        person = _sums(self._person, influence)
        n_people = self.people_with(label)
        none = np.empty(0)
        if not len(self._driver) or label == 0:
            return ClusterSums(person, none, none, n_people)
        # Drivers change which fakes are hard, not how many there are: the sums are centred over the fakes.
        of_fakes = influence[self._fake]
        of_fakes = of_fakes - of_fakes.mean()
        return ClusterSums(person, _sums(self._driver, of_fakes), _sums(self._pair, of_fakes), n_people)


def _sums(codes: Codes, values: Floats) -> Floats:
    return np.bincount(codes, values, _count(codes)).astype(np.float64)


def _count(codes: Codes) -> int:
    return int(codes.max(initial=-1)) + 1


def _codes(names: Any) -> Codes:
    """Return the rank (N,) of each name among the distinct ones. Sorting these alone takes a tenth of the time."""
    encoded = _array(names).dictionary_encode()
    distinct = np.asarray(encoded.dictionary.to_pylist())
    ranks = np.unique(distinct, return_inverse=True)[1].astype(np.int64)
    return ranks[encoded.indices.to_numpy(zero_copy_only=False)] if len(distinct) else np.empty(0, np.int64)


def _array(values: Any) -> pa.Array:
    if isinstance(values, pa.ChunkedArray):
        return values.combine_chunks()
    return values if isinstance(values, pa.Array) else pa.array(values)


def _one_way(sums: Floats, clusters: int) -> Variance:
    """Return the variance over clusters, with degrees of freedom from the kurtosis of their sums.

    Few people with most of the errors leave the variance itself uncertain: (clusters - 1) degrees of freedom, which
    hold for normal sums, are too many then.
    """
    if clusters < 2:
        return Variance(0.0, 1.0)
    squares = float(np.sum(sums**2))
    if squares == 0:
        return Variance(0.0, clusters - 1)
    kurtosis = clusters * float(np.sum(sums**4)) / squares**2
    df = min(clusters - 1, 2 * clusters / max(kurtosis - 1, 1e-9))
    return Variance(clusters / (clusters - 1) * squares, df)
