"""Metrics compared with scikit-learn on random samples with ties and with values computed by hand."""

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
