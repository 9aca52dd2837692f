"""Coverage of confidence intervals and error rates of paired tests, on simulated detectors with known truth.

    python benchmarks/interval_coverage.py             all tables; writes interval_coverage.json and docs/statistics.md
    python benchmarks/interval_coverage.py --tables    docs/statistics.md from interval_coverage.json, nothing simulated

A score is a sum of normal effects: of the person (partly shared by their reals and fakes), of the driver of a fake, and
of the clip. People and drivers are drawn anew in every repeat, so that the true metric is that of new people and new
drivers; it follows from the normal distribution. A 95 % interval is right if it contains the truth in 95 % of the
repeats, a test at 5 % if equal detectors differ in 5 %. Beside the intervals of the project stand those of a percentile
bootstrap over people, which it used before, and a sign-flip test over people. Takes about 10 minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from interval_coverage_tables import with_tables
from numpy.typing import NDArray
from scipy import stats

from deepfakemnist.evaluation import clusters as clusters_module
from deepfakemnist.evaluation.clusters import Clusters
from deepfakemnist.evaluation.estimates import Estimate, estimates, paired_difference

Floats = NDArray[np.float64]

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "benchmarks" / "interval_coverage.json", ROOT / "docs" / "statistics.md"
Row = dict[str, Any]
METRICS = ("auc", "accuracy", "balanced_accuracy", "tpr_at_fpr_1", "tpr_at_fpr_5")
AUCS = (0.6, 0.8, 0.9, 0.95, 0.99)
PEOPLE = (10, 15, 30, 60, 200)
#: Repeats per cell: of the project's intervals, of the bootstrap, of tests. 1000 have a standard error of 0.7 points.
REPEATS, BOOTSTRAP_REPEATS, TEST_REPEATS = 1000, 200, 500
RESAMPLES = 200


@dataclass(frozen=True)
class Population:
    """Sizes and variances of a simulated test set; total variance 1 in each class.

    Args:
        reals, fakes: clips of each person.
        person: variance between people.
        shared: part of it that a person's reals and fakes have in common.
        drivers: number of drivers, each fake having one at random; 0: every fake has its own.
        driver: variance between drivers.
        seed: standard deviation of the distance between the classes over training seeds.
    """

    reals: int = 3
    fakes: int = 4
    person: float = 0.4
    shared: float = 0.5
    drivers: int = 0
    driver: float = 0.0
    seed: float = 0.0


POPULATIONS = {
    "3 reals, 4 fakes a person": Population(),
    "1 real, 1 fake a person": Population(reals=1, fakes=1),
    "10 reals, 10 fakes, strong person effect": Population(reals=10, fakes=10, person=0.7, shared=0.8),
}
DRIVEN = [(people, drivers) for drivers in (10, 20, 50) for people in (30, 60, 200)]


@dataclass(frozen=True)
class Draw:
    """One simulated test set, scored by ``detectors`` × ``seeds``."""

    labels: Floats
    scores: list[list[Floats]]
    people: NDArray[np.int64]
    drivers: list[str] | None


def draw(
    random: np.random.Generator, people: int, auc: float, population: Population, detectors: int = 1, seeds: int = 1
) -> Draw:
    """Return a test set with detectors of one true AUC, whose effects correlate by 0.6 where there are two."""
    clips = population.reals + population.fakes
    labels = np.tile(np.repeat([0.0, 1.0], (population.reals, population.fakes)), people)
    fake = labels == 1
    person = np.repeat(np.arange(people), clips)
    driver = random.integers(0, population.drivers, len(labels)) if population.drivers else None

    def effects(size: Any) -> list[Floats]:
        common = random.normal(size=size) * math.sqrt(0.6)
        return [common + random.normal(size=size) * math.sqrt(0.4) for _ in range(detectors)]

    of_person, of_class, of_driver, of_clip = (
        effects(size) for size in (people, (2, people), max(population.drivers, 1), len(labels))
    )
    distance = math.sqrt(2) * stats.norm.ppf(auc)
    scores: list[list[Floats]] = []
    for number in range(detectors):
        base = math.sqrt(population.person * population.shared) * of_person[number][person]
        base += math.sqrt(population.person * (1 - population.shared)) * of_class[number][fake.astype(int), person]
        rest = np.full(len(labels), 1 - population.person)
        if driver is not None:
            base += np.where(fake, math.sqrt(population.driver) * of_driver[number][driver], 0.0)
            rest -= np.where(fake, population.driver, 0.0)
        base += np.sqrt(rest) * of_clip[number]
        distances = distance + population.seed * random.normal(size=seeds)
        scores.append([1 / (1 + np.exp(-(base + one * (labels - 0.5)))) for one in distances])
    return Draw(labels, scores, person, None if driver is None else [f"d{number}" for number in driver])


def truth(auc: float, population: Population) -> dict[str, float]:
    """Return the true metrics, averaged over seeds; the threshold 0.5 lies in the middle between the classes."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(31)
    distances = math.sqrt(2) * stats.norm.ppf(auc) + population.seed * nodes
    found = {
        "auc": stats.norm.cdf(distances / math.sqrt(2)),
        "accuracy": stats.norm.cdf(distances / 2),
        "balanced_accuracy": stats.norm.cdf(distances / 2),
        "tpr_at_fpr_1": stats.norm.cdf(distances + stats.norm.ppf(0.01)),
        "tpr_at_fpr_5": stats.norm.cdf(distances + stats.norm.ppf(0.05)),
    }
    return {name: float(values @ weights / weights.sum()) for name, values in found.items()}


class Coverage:
    """Counts of intervals that contain the truth, and their mean width, by method and metric."""

    def __init__(self, true: dict[str, float]) -> None:
        self._true = true
        self._hits: dict[tuple[str, str], list[bool]] = defaultdict(list)
        self._widths: dict[tuple[str, str], list[float]] = defaultdict(list)

    def add(self, method: str, ends: dict[str, tuple[float, float]]) -> None:
        """Count the intervals of one repeat."""
        for name, (low, high) in ends.items():
            self._hits[method, name].append(low <= self._true[name] <= high)
            self._widths[method, name].append(high - low)

    def rows(self, **cell: object) -> list[Row]:
        """Return a row per method and metric: coverage in percent, width and number of repeats."""
        return [
            {
                **cell,
                "method": method,
                "metric": name,
                "coverage": round(100 * float(np.mean(hits)), 1),
                "width": round(float(np.mean(self._widths[method, name])), 4),
                "repeats": len(hits),
            }
            for (method, name), hits in self._hits.items()
        ]


def ends_of(found: dict[str, Estimate]) -> dict[str, tuple[float, float]]:
    """Return the intervals of the metrics in METRICS."""
    ends = {}
    for name in METRICS:
        low, high = found[name].interval.low, found[name].interval.high
        assert low is not None and high is not None
        ends[name] = (low, high)
    return ends


def resampled(
    labels: Floats, scores: Floats, people: NDArray[np.int64], random: np.random.Generator
) -> dict[str, Floats]:
    """Return AUC, accuracy and so on of resamples of people; resamples with one class are left out."""
    order = np.argsort(-scores, kind="stable")
    n_people = int(people.max()) + 1
    counts = random.multinomial(n_people, np.full(n_people, 1 / n_people), size=RESAMPLES)
    weights = counts[:, people[order]].astype(np.float64)
    fake = labels[order] == 1
    fakes, reals = weights * fake, weights * ~fake
    both = (fakes.sum(1) > 0) & (reals.sum(1) > 0)
    fakes, reals, weights = fakes[both], reals[both], weights[both]
    tpr = np.cumsum(fakes, 1) / fakes.sum(1, keepdims=True)
    fpr = np.cumsum(reals, 1) / reals.sum(1, keepdims=True)
    correct = (scores[order] >= 0.5) == fake
    right = [(part * correct).sum(1) / part.sum(1) for part in (weights, fakes, reals)]
    return {
        "auc": (tpr * reals).sum(1) / reals.sum(1),
        "accuracy": right[0],
        "balanced_accuracy": (right[1] + right[2]) / 2,
        "tpr_at_fpr_1": np.max(np.where(fpr <= 0.01 + 1e-12, tpr, 0.0), 1),
        "tpr_at_fpr_5": np.max(np.where(fpr <= 0.05 + 1e-12, tpr, 0.0), 1),
    }


def percentile_intervals(sample: Draw, random: np.random.Generator) -> dict[str, tuple[float, float]]:
    """Return the 95 % percentile bootstrap intervals over people."""
    values = resampled(sample.labels, sample.scores[0][0], sample.people, random)
    return {
        name: (float(np.quantile(found, 0.025)), float(np.quantile(found, 0.975))) for name, found in values.items()
    }


def intervals_of_people() -> list[Row]:
    """Measure coverage by number of people and true AUC, in each population; 4 and 8 people in the first alone."""
    rows = []
    for name, population in POPULATIONS.items():
        first = name == next(iter(POPULATIONS))
        for people in (4, 8, *PEOPLE) if first else PEOPLE:
            for auc in AUCS:
                random = np.random.default_rng([people, round(100 * auc), population.reals])
                coverage = Coverage(truth(auc, population))
                for repeat in range(REPEATS if first else REPEATS // 2):
                    sample = draw(random, people, auc, population)
                    clusters = Clusters(sample.labels, sample.people)
                    coverage.add("project", ends_of(estimates(sample.labels, sample.scores[0], clusters)))
                    if first and repeat < BOOTSTRAP_REPEATS:
                        coverage.add("percentile bootstrap", percentile_intervals(sample, random))
                rows += coverage.rows(population=name, people=people, auc=auc)
        report(f"intervals: {name}")
    return rows


def intervals_of_drivers() -> list[Row]:
    """Measure coverage for new people and drivers, with clusters of people alone and of people and drivers."""
    rows = []
    for people, drivers in DRIVEN:
        population = Population(fakes=10, drivers=drivers, driver=0.2)
        for auc in AUCS:
            random = np.random.default_rng([people, drivers, round(100 * auc)])
            coverage = Coverage(truth(auc, population))
            for _ in range(REPEATS // 2):
                sample = draw(random, people, auc, population)
                for method, known in (("people", None), ("people and drivers", sample.drivers)):
                    clusters = Clusters(sample.labels, sample.people, known)
                    coverage.add(method, ends_of(estimates(sample.labels, sample.scores[0], clusters)))
            rows += coverage.rows(people=people, drivers=drivers, auc=auc)
        report(f"intervals: {people} people, {drivers} drivers")
    return rows


def intervals_of_seeds() -> list[Row]:
    """Measure coverage of the mean over all seeds: by the interval of three seeds' mean, and by that of one seed."""
    rows = []
    population = Population(seed=0.3)
    for people in (15, 60, 200):
        for auc in (0.8, 0.95):
            random = np.random.default_rng([people, round(100 * auc), 3])
            coverage = Coverage(truth(auc, population))
            for _ in range(REPEATS // 2):
                sample = draw(random, people, auc, population, seeds=3)
                clusters = Clusters(sample.labels, sample.people)
                coverage.add("three seeds", ends_of(estimates(sample.labels, sample.scores[0], clusters)))
                coverage.add("one seed", ends_of(estimates(sample.labels, sample.scores[0][:1], clusters)))
            rows += coverage.rows(people=people, auc=auc)
    report("intervals: seeds")
    return rows


def bootstrap_p(sample: Draw, random: np.random.Generator) -> dict[str, float]:
    """Return p-values of the paired percentile bootstrap over people."""
    state = random.bit_generator.state
    sides = []
    for detector in sample.scores:
        random.bit_generator.state = state  # the same resamples for both
        sides.append(resampled(sample.labels, detector[0], sample.people, random))
    found = {}
    for name in ("accuracy", "auc"):
        gap = sides[0][name] - sides[1][name]
        found[name] = min(1.0, 2 * (min(np.sum(gap <= 0), np.sum(gap >= 0)) + 1) / (len(gap) + 1))
    return found


def sign_flip_p(sample: Draw, random: np.random.Generator) -> float:
    """Return the p-value of a sign-flip permutation test over people, for the difference in accuracy."""
    right = [(detector[0] >= 0.5) == (sample.labels == 1) for detector in sample.scores]
    gaps = np.bincount(sample.people, right[0].astype(float) - right[1])
    flipped = random.choice([-1.0, 1.0], size=(499, len(gaps))) @ gaps
    return float((1 + np.sum(np.abs(flipped) >= abs(gaps.sum()) - 1e-9)) / 500)


def tests_of_equal_detectors() -> list[Row]:
    """Measure how often two equally good detectors differ with p below 0.05."""
    cells = [(people, 0, 0.0) for people in (2, 6, *PEOPLE)] + [(60, 20, 0.0), (200, 20, 0.0), (60, 0, 0.3)]
    rows = []
    for people, drivers, seed in cells:
        for auc in (0.7, 0.9, 0.99):
            random = np.random.default_rng([people, drivers, round(100 * auc), 7])
            fakes = 10 if drivers else 4
            population = Population(fakes=fakes, drivers=drivers, driver=0.2 if drivers else 0.0, seed=seed)
            found: dict[tuple[str, str], list[bool]] = defaultdict(list)
            for repeat in range(TEST_REPEATS):
                sample = draw(random, people, auc, population, detectors=2, seeds=3 if seed else 1)
                clusters = Clusters(sample.labels, sample.people, sample.drivers)
                gaps = paired_difference(sample.labels, sample.scores[0], sample.scores[1], clusters)
                for name in ("accuracy", "auc"):
                    p = gaps[name].p
                    assert p is not None
                    found["project", name].append(p < 0.05)
                if repeat < BOOTSTRAP_REPEATS:
                    for name, p in bootstrap_p(sample, random).items():
                        found["percentile bootstrap", name].append(p < 0.05)
                    found["sign flip over people", "accuracy"].append(sign_flip_p(sample, random) < 0.05)
            for (method, name), rejected in found.items():
                rows.append(
                    {
                        "people": people,
                        "drivers": drivers,
                        "seeds": 3 if seed else 1,
                        "auc": auc,
                        "method": method,
                        "metric": name,
                        "rejected": round(100 * float(np.mean(rejected)), 1),
                        "repeats": len(rejected),
                    }
                )
        report(f"tests: {people} people, {drivers} drivers")
    return rows


def report(text: str) -> None:
    """Print progress."""
    print(text, file=sys.stderr, flush=True)


PARTS: dict[str, Callable[[], list[Row]]] = {
    "people": intervals_of_people,
    "drivers": intervals_of_drivers,
    "seeds": intervals_of_seeds,
    "tests": tests_of_equal_detectors,
}


def main() -> None:
    """Simulate, and write results and page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", action="store_true", help="write the page from the stored results")
    parser.add_argument("--only", choices=PARTS, help="simulate one part; the others stay as stored")
    arguments = parser.parse_args()
    results: dict[str, list[Row]] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    if not arguments.tables:
        # Intervals below the least number of people are computed here, to show why they are not reported.
        clusters_module.MIN_CLUSTERS = 2
        for name, simulate in PARTS.items():
            if arguments.only in (None, name):
                results[name] = simulate()
        rows = ",\n".join(
            f'"{name}": [\n' + ",\n".join(json.dumps(row) for row in part) + "\n]" for name, part in results.items()
        )
        RESULTS.write_text("{\n" + rows + "\n}\n")
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8"), results), encoding="utf-8")


if __name__ == "__main__":
    main()
