"""Metrics against scikit-learn on random samples with ties, and against numbers done by hand."""

import numpy as np
import pytest
import sklearn.metrics
from scipy.interpolate import interp1d
from scipy.optimize import brentq

from deepfakemnist.evaluation import metrics


def samples(seed):
    """Labels and scores with ties, unequal classes and some signal."""
    random = np.random.default_rng(seed)
    count = int(random.integers(2, 200))
    labels = (random.random(count) < random.uniform(0.1, 0.9)).astype(int)
    labels[:2] = 0, 1
    scores = 1 / (1 + np.exp(-(random.normal(size=count) + random.uniform(-1, 3) * labels)))
    return labels, np.round(scores, int(random.integers(1, 7))), random


SEEDS = range(60)


@pytest.mark.parametrize("seed", SEEDS)
def test_agrees_with_scikit_learn(seed):
    labels, scores, random = samples(seed)
    called = (scores >= 0.5).astype(int)
    weights = random.integers(0, 4, len(labels))
    assert metrics.auc(labels, scores) == pytest.approx(sklearn.metrics.roc_auc_score(labels, scores), abs=1e-12)
    assert metrics.average_precision(labels, scores) == pytest.approx(
        sklearn.metrics.average_precision_score(labels, scores), abs=1e-12
    )
    assert metrics.accuracy(labels, scores) == pytest.approx(sklearn.metrics.accuracy_score(labels, called), abs=1e-12)
    assert metrics.balanced_accuracy(labels, scores) == pytest.approx(
        sklearn.metrics.balanced_accuracy_score(labels, called), abs=1e-12
    )
    if weights[labels == 0].sum() and weights[labels == 1].sum():
        assert metrics.auc(labels, scores, weights) == pytest.approx(
            sklearn.metrics.roc_auc_score(labels, scores, sample_weight=weights), abs=1e-12
        )
        assert metrics.accuracy(labels, scores, weights) == pytest.approx(
            sklearn.metrics.accuracy_score(labels, called, sample_weight=weights), abs=1e-12
        )


@pytest.mark.parametrize("seed", SEEDS)
def test_eer_is_the_root_on_the_interpolated_roc_curve(seed):
    labels, scores, _ = samples(seed)
    false_alarms, hits, _ = sklearn.metrics.roc_curve(labels, scores, drop_intermediate=False)
    # interp1d takes one hit rate per false alarm rate, so the vertical pieces are tilted by next to nothing.
    curve = interp1d(false_alarms + np.arange(len(hits)) * 1e-12, hits, fill_value=(0, 1), bounds_error=False)
    root = brentq(lambda rate: 1 - rate - curve(rate), 0, 1)
    assert metrics.eer(labels, scores) == pytest.approx(root, abs=1e-6)


@pytest.mark.parametrize("seed", range(10))
def test_order_does_not_matter_and_rank_metrics_ignore_scale(seed):
    labels, scores, random = samples(seed)
    order = random.permutation(len(labels))
    for metric in (metrics.auc, metrics.eer, metrics.average_precision, metrics.accuracy, metrics.balanced_accuracy):
        assert metric(labels[order], scores[order]) == pytest.approx(metric(labels, scores), abs=1e-12)
    for metric in (metrics.auc, metrics.eer, metrics.average_precision):
        assert metric(labels, scores**3) == pytest.approx(metric(labels, scores), abs=1e-12)
    assert metrics.auc(1 - labels, 1 - scores) == pytest.approx(metrics.auc(labels, scores), abs=1e-12)
    assert metrics.eer(1 - labels, 1 - scores) == pytest.approx(metrics.eer(labels, scores), abs=1e-12)


def test_numbers_by_hand():
    labels, scores = [0, 0, 1, 1], [0.1, 0.6, 0.5, 0.9]
    assert metrics.accuracy(labels, scores) == 0.75  # 0.5 itself is called fake
    assert metrics.class_accuracy(labels, scores, 0) == 0.5
    assert metrics.class_accuracy(labels, scores, 1) == 1.0
    assert metrics.balanced_accuracy(labels, scores) == 0.75
    assert metrics.auc(labels, scores) == 0.75
    assert metrics.eer(labels, scores) == 0.5
    assert metrics.average_precision(labels, scores) == pytest.approx((1 + 2 / 3) / 2)
    assert metrics.auc([0, 1], [0.3, 0.3]) == 0.5
    assert metrics.eer([0, 1], [0.3, 0.3]) == 0.5
    assert metrics.eer([0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4]) == 0.0
    assert metrics.eer([1, 1, 0, 0], [0.1, 0.2, 0.3, 0.4]) == 1.0
    # From 1 false alarm of 3 with 1 hit of 2 straight up to 2 hits: misses fall from 1/2 to 0 and meet 1/3 on the way.
    assert metrics.eer([0, 0, 0, 1, 1], [0.1, 0.2, 0.7, 0.5, 0.9]) == pytest.approx(1 / 3)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_gives_none_and_no_made_up_number(label):
    labels, scores = [label] * 3, [0.2, 0.7, 0.9]
    for metric in (metrics.auc, metrics.eer, metrics.average_precision, metrics.balanced_accuracy):
        assert metric(labels, scores) is None
    assert metrics.class_accuracy(labels, scores, 1 - label) is None
    assert metrics.accuracy(labels, scores) == pytest.approx(2 / 3 if label else 1 / 3)


def test_nothing_gives_none():
    for metric in (metrics.auc, metrics.eer, metrics.average_precision, metrics.balanced_accuracy, metrics.accuracy):
        assert metric([], []) is None


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 2], [0.1, 0.2], r"labels are 0 \(real\) or 1 \(fake\), not \[2.0\]"),
        ([0, 1], [0.1, float("nan")], "1 of 2 scores are no finite number"),
        ([0, 1], [0.1], "one length"),
    ],
)
def test_bad_samples_are_refused(labels, scores, message):
    for metric in (metrics.auc, metrics.eer, metrics.average_precision, metrics.accuracy):
        with pytest.raises(ValueError, match=message):
            metric(labels, scores)


def population(random, people, per_person, effect):
    """Half the people real, half fake; each has an offset that all samples of them share."""
    labels = np.repeat(np.arange(people) % 2, per_person)
    names = np.repeat([f"p{number}" for number in range(people)], per_person)
    offsets = np.repeat(random.normal(0, effect, people), per_person)
    logits = 1.0 * (2 * labels - 1) + offsets + random.normal(0, 0.5, len(labels))
    return labels, 1 / (1 + np.exp(-logits)), names


def test_bootstrap_agrees_with_drawing_people_one_by_one():
    labels, scores, names = population(np.random.default_rng(0), 20, 5, 1.0)
    result = metrics.bootstrap(labels, scores, names, 600, seed=1)
    random = np.random.default_rng(2)
    people = np.unique(names)
    accuracies, aucs, skipped = [], [], 0
    for _ in range(600):
        rows = np.concatenate([np.flatnonzero(names == name) for name in random.choice(people, len(people))])
        accuracies.append(((scores[rows] >= 0.5) == (labels[rows] == 1)).mean())
        if len(set(labels[rows])) == 1:
            skipped += 1
        else:
            aucs.append(sklearn.metrics.roc_auc_score(labels[rows], scores[rows]))
    low, high = np.quantile(accuracies, [0.025, 0.975])
    assert (result.accuracy.low, result.accuracy.high) == pytest.approx((low, high), abs=0.04)
    low, high = np.quantile(aucs, [0.025, 0.975])
    assert (result.auc.low, result.auc.high) == pytest.approx((low, high), abs=0.04)
    assert result.skipped <= 5
    assert skipped <= 5


def test_people_stay_together():
    """Ten times the same samples say no more than one time: drawing by person, the interval stays as wide."""
    random = np.random.default_rng(3)
    labels, scores, names = population(random, 16, 1, 1.0)
    once = metrics.bootstrap(labels, scores, names, 1000, seed=4)
    tenfold = metrics.bootstrap(*(np.repeat(part, 10) for part in (labels, scores, names)), 1000, seed=4)
    assert tenfold == once
    alone = metrics.bootstrap(np.repeat(labels, 10), np.repeat(scores, 10), range(160), 1000, seed=4)
    assert alone.accuracy.high - alone.accuracy.low < 0.5 * (once.accuracy.high - once.accuracy.low)


def test_intervals_cover_the_truth():
    """Of 60 populations with strong effects of the person, about 95 % of intervals must hold the true accuracy."""
    random = np.random.default_rng(5)
    truth = metrics.accuracy(*population(random, 40_000, 1, 1.0)[:2])
    held = 0
    for seed in range(60):
        interval = metrics.bootstrap(*population(random, 40, 6, 1.0), 200, seed).accuracy
        held += interval.low <= truth <= interval.high
    assert held >= 51


def test_resamples_of_one_class_are_counted():
    result = metrics.bootstrap([0, 1], [0.2, 0.8], ["a", "b"], 1000, seed=0)
    assert 430 < result.skipped < 570  # two people drawn twice: half the draws show one person only
    assert (result.auc.low, result.auc.high) == (1.0, 1.0)
    one_class = metrics.bootstrap([1, 1], [0.2, 0.8], ["a", "b"], 100, seed=0)
    assert one_class.skipped == 100
    assert one_class.auc == metrics.Interval(None, None)
    assert one_class.accuracy == metrics.Interval(0.0, 1.0)


def test_one_person_has_no_interval():
    result = metrics.bootstrap([0, 1, 1], [0.2, 0.8, 0.4], ["a"] * 3, 100, seed=0)
    assert result == metrics.Bootstrap(metrics.Interval(None, None), metrics.Interval(None, None), 0)
