"""Metrics compared with scikit-learn on random samples with ties and with values computed by hand."""

import numpy as np
import pytest
import sklearn.metrics
from scipy.interpolate import interp1d
from scipy.optimize import brentq

from deepfakemnist.evaluation import metrics
from deepfakemnist.evaluation.resampling import RESAMPLED, Interval, bootstrap, paired_difference


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
    decided = (scores >= 0.5).astype(int)
    weights = random.integers(0, 4, len(labels))
    assert metrics.auc(labels, scores) == pytest.approx(sklearn.metrics.roc_auc_score(labels, scores), abs=1e-12)
    assert metrics.average_precision(labels, scores) == pytest.approx(
        sklearn.metrics.average_precision_score(labels, scores), abs=1e-12
    )
    assert metrics.accuracy(labels, scores) == pytest.approx(sklearn.metrics.accuracy_score(labels, decided), abs=1e-12)
    assert metrics.balanced_accuracy(labels, scores) == pytest.approx(
        sklearn.metrics.balanced_accuracy_score(labels, decided), abs=1e-12
    )
    assert metrics.brier(labels, scores) == pytest.approx(sklearn.metrics.brier_score_loss(labels, scores), abs=1e-12)
    assert metrics.bpcer(labels, scores) == pytest.approx(1 - sklearn.metrics.recall_score(1 - labels, 1 - decided))
    if weights[labels == 0].sum() and weights[labels == 1].sum():
        assert metrics.average_precision(labels, scores, weights) == pytest.approx(
            sklearn.metrics.average_precision_score(labels, scores, sample_weight=weights), abs=1e-12
        )
        assert metrics.auc(labels, scores, weights) == pytest.approx(
            sklearn.metrics.roc_auc_score(labels, scores, sample_weight=weights), abs=1e-12
        )
        assert metrics.accuracy(labels, scores, weights) == pytest.approx(
            sklearn.metrics.accuracy_score(labels, decided, sample_weight=weights), abs=1e-12
        )


@pytest.mark.parametrize("seed", SEEDS)
def test_eer_is_the_root_on_the_interpolated_roc_curve(seed):
    labels, scores, _ = samples(seed)
    fpr, tpr, _ = sklearn.metrics.roc_curve(labels, scores, drop_intermediate=False)
    # interp1d needs one TPR per FPR, so vertical segments are tilted by a negligible amount.
    curve = interp1d(fpr + np.arange(len(tpr)) * 1e-12, tpr, fill_value=(0, 1), bounds_error=False)
    root = brentq(lambda rate: 1 - rate - curve(rate), 0, 1)
    assert metrics.eer(labels, scores) == pytest.approx(root, abs=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_tpr_at_fpr_is_a_point_of_scikit_learns_roc_curve(seed):
    labels, scores, random = samples(seed)
    weights = random.integers(1, 4, len(labels))
    for rate in (0.0, 0.01, 0.05, 0.3, 1.0):
        for weight in (None, weights):
            fpr, tpr, _ = sklearn.metrics.roc_curve(labels, scores, sample_weight=weight, drop_intermediate=False)
            wanted = tpr[fpr <= rate + 1e-12].max()
            assert metrics.tpr_at_fpr(labels, scores, rate, weight) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_calibration_error_is_the_weighted_gap_of_the_bins(seed):
    labels, scores, random = samples(seed)
    bins = int(random.integers(1, 20))
    wanted = 0.0
    for number in range(bins):
        last = number == bins - 1
        inside = (scores * bins >= number) & ((scores * bins < number + 1) | last)
        if inside.any():
            wanted += inside.mean() * abs(scores[inside].mean() - labels[inside].mean())
    assert metrics.calibration_error(labels, scores, bins) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("seed", range(10))
def test_an_integer_weight_equals_repeating_the_sample(seed):
    labels, scores, random = samples(seed)
    weights = random.integers(1, 4, len(labels))
    again = np.repeat(np.arange(len(labels)), weights)
    for metric in (metrics.auc, metrics.eer, metrics.average_precision, metrics.accuracy):
        assert metric(labels, scores, weights) == pytest.approx(metric(labels[again], scores[again]), abs=1e-12)


@pytest.mark.parametrize("seed", range(10))
def test_metrics_ignore_order_and_rank_metrics_ignore_scale(seed):
    labels, scores, random = samples(seed)
    order = random.permutation(len(labels))
    for metric in (metrics.auc, metrics.eer, metrics.average_precision, metrics.accuracy, metrics.balanced_accuracy):
        assert metric(labels[order], scores[order]) == pytest.approx(metric(labels, scores), abs=1e-12)
    for metric in (metrics.auc, metrics.eer, metrics.average_precision):
        assert metric(labels, scores**3) == pytest.approx(metric(labels, scores), abs=1e-12)
    assert metrics.auc(1 - labels, 1 - scores) == pytest.approx(metrics.auc(labels, scores), abs=1e-12)
    assert metrics.eer(1 - labels, 1 - scores) == pytest.approx(metrics.eer(labels, scores), abs=1e-12)


def test_metrics_by_hand():
    labels, scores = [0, 0, 1, 1], [0.1, 0.6, 0.5, 0.9]
    assert metrics.accuracy(labels, scores) == 0.75  # 0.5 itself is classified as fake
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
    # At an FPR of 1/3 the TPR rises from 1/2 to 1: the miss rate falls from 1/2 to 0 and passes 1/3.
    assert metrics.eer([0, 0, 0, 1, 1], [0.1, 0.2, 0.7, 0.5, 0.9]) == pytest.approx(1 / 3)


@pytest.mark.parametrize("label", [0, 1])
def test_a_single_class_gives_none(label):
    labels, scores = [label] * 3, [0.2, 0.7, 0.9]
    for metric in (metrics.auc, metrics.eer, metrics.average_precision, metrics.balanced_accuracy):
        assert metric(labels, scores) is None
    assert metrics.class_accuracy(labels, scores, 1 - label) is None
    assert metrics.accuracy(labels, scores) == pytest.approx(2 / 3 if label else 1 / 3)


def test_no_samples_give_none():
    for metric in (metrics.auc, metrics.eer, metrics.average_precision, metrics.balanced_accuracy, metrics.accuracy):
        assert metric([], []) is None


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 2], [0.1, 0.2], r"labels must be 0 \(real\) or 1 \(fake\), not \[2.0\]"),
        ([0, 1], [0.1, float("nan")], "1 of 2 scores are not finite"),
        ([0, 1], [0.1], "the same length"),
    ],
)
def test_invalid_samples_are_refused(labels, scores, message):
    for metric in (metrics.auc, metrics.eer, metrics.average_precision, metrics.accuracy):
        with pytest.raises(ValueError, match=message):
            metric(labels, scores)


def population(random, people, per_person, effect):
    """Half the people real, half fake; all samples of a person share an offset."""
    labels = np.repeat(np.arange(people) % 2, per_person)
    names = np.repeat([f"p{number}" for number in range(people)], per_person)
    offsets = np.repeat(random.normal(0, effect, people), per_person)
    logits = 1.0 * (2 * labels - 1) + offsets + random.normal(0, 0.5, len(labels))
    return labels, 1 / (1 + np.exp(-logits)), names


@pytest.mark.slow
def test_bootstrap_agrees_with_resampling_people_explicitly():
    labels, scores, names = population(np.random.default_rng(0), 20, 5, 1.0)
    result = bootstrap(labels, scores, names, 600, seed=1)
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
    assert (result["accuracy"].low, result["accuracy"].high) == pytest.approx((low, high), abs=0.04)
    low, high = np.quantile(aucs, [0.025, 0.975])
    assert (result["auc"].low, result["auc"].high) == pytest.approx((low, high), abs=0.04)
    assert result.skipped <= 5
    assert skipped <= 5


@pytest.mark.slow
def test_samples_of_a_person_are_resampled_together():
    """Repeating every sample ten times adds no information: resampled by person, the interval stays as wide."""
    random = np.random.default_rng(3)
    labels, scores, names = population(random, 16, 1, 1.0)
    once = bootstrap(labels, scores, names, 1000, seed=4)
    tenfold = bootstrap(*(np.repeat(part, 10) for part in (labels, scores, names)), 1000, seed=4)
    assert tenfold == once
    alone = bootstrap(np.repeat(labels, 10), np.repeat(scores, 10), range(160), 1000, seed=4)
    assert alone["accuracy"].high - alone["accuracy"].low < 0.5 * (once["accuracy"].high - once["accuracy"].low)


@pytest.mark.slow
def test_intervals_cover_the_true_value():
    """Over 60 populations with a strong person effect, about 95 % of the intervals must cover the true accuracy."""
    random = np.random.default_rng(5)
    truth = metrics.accuracy(*population(random, 40_000, 1, 1.0)[:2])
    covered = 0
    for seed in range(60):
        interval = bootstrap(*population(random, 40, 6, 1.0), 200, seed)["accuracy"]
        covered += interval.low <= truth <= interval.high
    assert covered >= 51


def test_resamples_with_a_single_class_are_counted():
    result = bootstrap([0, 1], [0.2, 0.8], ["a", "b"], 1000, seed=0)
    assert 430 < result.skipped < 570  # two people sampled twice: half the resamples have one person only
    assert (result["auc"].low, result["auc"].high) == (1.0, 1.0)
    one_class = bootstrap([1, 1], [0.2, 0.8], ["a", "b"], 100, seed=0)
    assert one_class.skipped == 100
    assert one_class["auc"] == Interval(None, None)
    assert one_class["accuracy"] == Interval(0.0, 1.0)


def test_one_person_has_no_interval():
    result = bootstrap([0, 1, 1], [0.2, 0.8, 0.4], ["a"] * 3, 100, seed=0)
    assert result.skipped == 0
    assert {result[name] for name in RESAMPLED} == {Interval(None, None)}


def test_apcer_is_the_miss_rate_of_the_worst_attack_type():
    labels, scores = [0, 0, 1, 1, 1, 1], [0.1, 0.6, 0.9, 0.4, 0.8, 0.7]
    kinds = ["", "", "nod", "nod", "blink", "blink"]
    assert metrics.apcer(labels, scores, kinds) == 0.5  # nod misses one of two, blink none
    assert metrics.bpcer(labels, scores) == 0.5
    assert metrics.apcer([0], [0.1], [""]) is None
    assert metrics.bpcer([1], [0.1]) is None


def test_calibration_by_hand():
    # Bins of width a half: scores 0.2 and 0.4 with one fake, 0.9 with a real.
    assert metrics.calibration_error([0, 1, 0], [0.2, 0.4, 0.9], 2) == pytest.approx((2 * 0.2 + 0.9) / 3)
    assert metrics.calibration_error([1, 0], [1.0, 0.0], 15) == 0.0
    assert metrics.brier([1, 0], [0.5, 0.0]) == 0.125
    assert metrics.brier([], []) is None


def test_tpr_at_fpr_by_hand():
    labels, scores = [0] * 20 + [1] * 4, [*np.linspace(0, 0.5, 19), 0.8, 0.9, 0.85, 0.7, 0.1]
    assert metrics.tpr_at_fpr(labels, scores, 0.01) == 0.5  # of 20 reals, no false positive is allowed
    assert metrics.tpr_at_fpr(labels, scores, 0.05) == 0.75  # one is
    assert metrics.tpr_at_fpr([1], [0.5], 0.05) is None


def test_every_interval_contains_its_point_estimate():
    labels, scores, names = population(np.random.default_rng(1), 60, 4, 1.0)
    result = bootstrap(labels, scores, names, 300, seed=1)
    found = {
        "accuracy": metrics.accuracy(labels, scores),
        "balanced_accuracy": metrics.balanced_accuracy(labels, scores),
        "real_accuracy": metrics.class_accuracy(labels, scores, label=0),
        "fake_accuracy": metrics.class_accuracy(labels, scores, label=1),
        "auc": metrics.auc(labels, scores),
        "eer": metrics.eer(labels, scores),
        "average_precision": metrics.average_precision(labels, scores),
        "tpr_at_fpr_1": metrics.tpr_at_fpr(labels, scores, 0.01),
        "tpr_at_fpr_5": metrics.tpr_at_fpr(labels, scores, 0.05),
    }
    assert set(found) == set(RESAMPLED)
    for name, value in found.items():
        assert result[name].low <= value <= result[name].high, name
        assert result[name].low < result[name].high, name


def test_per_class_intervals_use_the_resamples_that_contain_the_class():
    # One person of three is real and classified correctly; every fake is missed.
    found = bootstrap([0, 1, 1], [0.1, 0.2, 0.3], ["a", "b", "c"], 200, seed=1)
    assert (found["real_accuracy"].low, found["real_accuracy"].high) == (1.0, 1.0)
    assert (found["fake_accuracy"].low, found["fake_accuracy"].high) == (0.0, 0.0)


def two_detectors(random, gain, people=40, per_person=4):
    """Scores of two detectors for which the same people are hard; the first is better by ``gain``."""
    labels = np.repeat(np.arange(people) % 2, per_person)
    names = np.repeat([f"p{number}" for number in range(people)], per_person)
    hard = np.repeat(random.normal(0, 1.0, people), per_person)
    sides = 2 * labels - 1
    logits = [0.7 * sides + hard + random.normal(0, 0.7, len(labels)) + extra * sides for extra in (gain, 0.0)]
    return labels, *(1 / (1 + np.exp(-logit)) for logit in logits), names


def test_a_better_detector_has_a_significant_signed_difference():
    labels, better, worse, names = two_detectors(np.random.default_rng(0), 1.5)
    found = paired_difference(labels, better, worse, names, 500, seed=1)
    other = paired_difference(labels, worse, better, names, 500, seed=1)
    for name, metric in (("accuracy", metrics.accuracy), ("auc", metrics.auc)):
        gap = found[name]
        assert gap.value == pytest.approx(metric(labels, better) - metric(labels, worse), abs=1e-12)
        assert gap.p < 0.01 and gap.interval.low > 0
        assert other[name].value == pytest.approx(-gap.value, abs=1e-12)
        assert (other[name].interval.low, other[name].interval.high) == pytest.approx(
            (-gap.interval.high, -gap.interval.low), abs=1e-12
        )
        assert other[name].p == gap.p


def test_pairing_narrows_the_interval():
    labels, better, worse, names = two_detectors(np.random.default_rng(1), 0.3)
    gap = paired_difference(labels, better, worse, names, 500, seed=1)["auc"].interval
    alone = [bootstrap(labels, scores, names, 500, seed=1)["auc"] for scores in (better, worse)]
    unpaired = np.hypot(*(interval.high - interval.low for interval in alone))
    assert gap.high - gap.low < 0.7 * unpaired


@pytest.mark.slow
def test_equal_detectors_rarely_differ_significantly():
    random = np.random.default_rng(7)
    small = [paired_difference(*two_detectors(random, 0.0), 100, seed)["auc"].p < 0.05 for seed in range(60)]
    assert sum(small) <= 9  # 3 are expected


def test_a_detector_compared_with_itself():
    labels, scores, _, names = two_detectors(np.random.default_rng(2), 0.0)
    gap = paired_difference(labels, scores, scores, names, 50, seed=0)["auc"]
    assert (gap.value, gap.p, gap.interval) == (0.0, 1.0, Interval(0.0, 0.0))
    one = paired_difference([0, 1], [0.1, 0.9], [0.2, 0.3], ["a", "a"], 50, seed=0)["accuracy"]
    assert (one.value, one.p, one.interval) == (0.5, None, Interval(None, None))
