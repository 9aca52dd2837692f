"""Threshold and temperature chosen on val."""

import numpy as np
import pytest

from deepfakemnist.training.decision import Decision, choose_decision


def separable_but_for_noise(scale: float, shift: float = 0.0, count: int = 4000):
    """Labels, logits and videos of a detector whose calibrated logits are multiplied by ``scale``."""
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], count // 2)
    # Of two normal distributions with means -1 and 1 and variance 1, the log-odds of fake are twice the value.
    calibrated = 2 * (np.where(labels == 1, 1.0, -1.0) + random.normal(size=count))
    return labels, calibrated * scale + shift, [f"v{number}" for number in range(count)]


@pytest.mark.parametrize("scale", [0.25, 1.0, 4.0])
def test_the_temperature_undoes_a_detectors_over_or_underconfidence(scale):
    # Its standard error at 4000 frames is 3 % of it: 10 % is three of them.
    assert choose_decision(*separable_but_for_noise(scale)).temperature == pytest.approx(scale, rel=0.1)


def test_the_temperature_weights_both_classes_alike():
    labels, logits, videos = separable_but_for_noise(4.0)
    few_fakes = np.r_[0:2000, 2000:2200]
    decision = choose_decision(labels[few_fakes], logits[few_fakes], [videos[at] for at in few_fakes])
    assert decision.temperature == pytest.approx(4.0, rel=0.2)


def test_the_threshold_has_the_highest_balanced_accuracy_of_videos():
    # Real videos score 0.6 and 0.7 and fakes 0.8 and 0.9 on average, so 0.5 would call all of them fake.
    scores = {"r1": (0.5, 0.7), "r2": (0.6, 0.8), "f1": (0.7, 0.9), "f2": (0.85, 0.95)}
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    values = np.concatenate(list(scores.values()))
    logits = np.log(values / (1 - values))
    decision = choose_decision(labels, logits, [name for name in scores for _ in range(2)])
    calibrated = decision.scores(logits).reshape(4, 2).mean(axis=1)
    assert calibrated[1] < decision.threshold < calibrated[2]
    assert decision.val_videos == 4


def test_a_half_remains_the_threshold_where_none_is_better():
    labels = np.array([0, 0, 1, 1])
    decision = choose_decision(labels, np.array([-3.0, -1.0, 2.0, 3.0]), ["a", "b", "c", "d"])
    assert decision == Decision(threshold=0.5, temperature=1.0, val_videos=4)


def test_the_temperature_is_one_where_val_cannot_tell_it():
    labels, logits, videos = separable_but_for_noise(2.0)
    for unhelpful in (np.abs(logits) * np.where(labels == 1, 1, -1), -logits):  # no error; worse than chance
        assert choose_decision(labels, unhelpful, videos).temperature == 1.0


def test_without_both_classes_the_defaults_remain():
    assert choose_decision(np.array([], int), np.array([]), []) == Decision()
    assert choose_decision(np.array([1, 1]), np.array([2.0, 3.0]), ["a", "b"]) == Decision()


def test_scores_of_the_temperature_keep_the_order_and_the_half():
    scores = Decision(temperature=3.0).scores(np.array([-6.0, 0.0, 6.0]))
    assert scores == pytest.approx([1 / (1 + np.exp(2)), 0.5, 1 / (1 + np.exp(-2))])
