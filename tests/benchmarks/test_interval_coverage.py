"""Simulation of intervals: its truth is that of its draws, and docs/statistics.md shows what it measured."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from deepfakemnist.evaluation import metrics

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def coverage(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    # By path, because there is a package of that name.
    spec = importlib.util.spec_from_file_location("coverage_benchmark", BENCHMARKS / "interval_coverage.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def test_the_truth_is_what_a_large_draw_shows(coverage):
    population = coverage.Population(drivers=2000, driver=0.2, seed=0.3)
    true = coverage.truth(0.9, population)
    random = np.random.default_rng(0)
    found = []
    for _ in range(40):
        sample = coverage.draw(random, 1000, 0.9, population)
        found.append([metric(sample.labels, sample.scores[0][0]) for metric in (metrics.auc, metrics.accuracy)])
    # Seeds of the distance, 0.3, move the AUC by 0.035 and the accuracy by 0.04: 0.006 in the mean of 40.
    assert np.mean(found, axis=0) == pytest.approx([true["auc"], true["accuracy"]], abs=0.02)


def test_the_page_shows_the_stored_results(coverage):
    page = coverage.PAGE.read_text(encoding="utf-8")
    results = json.loads(coverage.RESULTS.read_text())
    assert coverage.with_tables(page, results) == page, "run python benchmarks/interval_coverage.py --tables"
