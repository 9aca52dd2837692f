"""Intervals and paired tests: clustered by person and driver, over seeds, at the boundary, and with too few people."""

import numpy as np
import pytest
from scipy import stats

from deepfakemnist.evaluation import metrics
from deepfakemnist.evaluation.clusters import Clusters, Variance
from deepfakemnist.evaluation.estimates import ESTIMATED, estimates, paired_difference
from deepfakemnist.evaluation.influence import linearise
from deepfakemnist.evaluation.intervals import NO_INTERVAL, logit_interval
from deepfakemnist.evaluation.operating_points import tpr_at_fpr
from deepfakemnist.multiple_tests import holm


def population(random, people, reals=2, fakes=4, auc=0.85, drivers=0):
    """People with a real and a fake share in common; 40 % of the variance is the person's, 20 % the driver's."""
    shift = np.sqrt(2) * stats.norm.ppf(auc)
    person = random.normal(0, np.sqrt(0.2), people)
    own = random.normal(0, np.sqrt(0.2), (2, people))
    labels = np.repeat([0.0, 1.0], [people * reals, people * fakes])
    people_of = np.concatenate([np.repeat(np.arange(people), reals), np.repeat(np.arange(people), fakes)])
    logits = person[people_of] + own[labels.astype(int), people_of] + shift * (labels - 0.5)
    rest = np.full(len(labels), 0.6)
    names = None
    if drivers:
        driver = random.integers(0, drivers, len(labels))
        logits += np.where(labels == 1, random.normal(0, np.sqrt(0.2), drivers)[driver], 0.0)
        rest -= 0.2 * labels
        names = [f"d{number}" for number in driver]
    scores = 1 / (1 + np.exp(-(logits + random.normal(0, np.sqrt(rest)))))
    return labels, scores, people_of, names


def intervals(labels, scores, people, drivers=None):
    return estimates(labels, [scores], Clusters(labels, people, drivers))


def width(estimate):
    return estimate.interval.high - estimate.interval.low


@pytest.mark.parametrize(
    ("name", "metric"),
    [("accuracy", metrics.accuracy), ("auc", metrics.auc), ("average_precision", metrics.average_precision)],
)
def test_an_influence_is_the_derivative_with_respect_to_a_samples_weight(name, metric):
    random = np.random.default_rng(0)
    labels, scores, *_ = population(random, 10)
    scores = np.round(scores, 2)  # with ties
    found = linearise(labels, scores)[name]
    step = 1e-5
    numeric = []
    for number in range(len(labels)):
        weights = np.ones((2, len(labels)))
        weights[:, number] += (step, -step)
        numeric.append((metric(labels, scores, weights[0]) - metric(labels, scores, weights[1])) / (2 * step))
    # The error of a central difference is of the order step² and of rounding / step, both below 1e-9.
    assert np.allclose(found.influence, numeric, atol=1e-8)
    assert found.value == pytest.approx(metric(labels, scores), abs=1e-12)


def test_every_metric_has_the_value_of_its_function_and_an_interval_around_it():
    labels, scores, people, _ = population(np.random.default_rng(1), 40)
    found = intervals(labels, scores, people)
    expected = {
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
    assert tuple(expected) == ESTIMATED == tuple(found)
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value, abs=1e-12), name
        assert found[name].interval.low < value < found[name].interval.high, name


def test_the_variance_of_independent_samples_is_delongs():
    labels, scores, *_ = population(np.random.default_rng(2), 400, reals=1, fakes=1)
    variance = Clusters(labels, range(800)).sums(linearise(labels, scores)["auc"]).variance().value
    fakes, reals = scores[labels == 1], scores[labels == 0]
    wins = fakes[:, None] > reals[None]
    delong = np.var(wins.mean(1), ddof=1) / 400 + np.var(wins.mean(0), ddof=1) / 400
    assert variance == pytest.approx(delong, rel=0.01)  # n / (n - 1) of the classes against that of both: 1/800


def test_more_frames_of_the_same_people_do_not_narrow_an_interval():
    labels, scores, people, _ = population(np.random.default_rng(3), 16)
    once = intervals(labels, scores, people)
    tenfold = intervals(*(np.repeat(part, 10) for part in (labels, scores, people)))
    for name in ESTIMATED[:-2]:
        assert width(tenfold[name]) == pytest.approx(width(once[name]), rel=1e-9), name
    alone = intervals(np.repeat(labels, 10), np.repeat(scores, 10), range(10 * len(labels)))
    assert width(alone["auc"]) < 0.5 * width(once["auc"])


@pytest.mark.parametrize("people", [1, 2, 9])
def test_below_ten_people_there_is_a_value_but_neither_interval_nor_p(people):
    labels, scores, names, _ = population(np.random.default_rng(4), people)
    clusters = Clusters(labels, names)
    assert clusters.generalises_to() == f"too few people ({people})"
    found = estimates(labels, [scores], clusters)
    assert {found[name].interval for name in ESTIMATED} == {NO_INTERVAL}
    assert None not in {found[name].value for name in ESTIMATED}
    for gap in paired_difference(labels, [scores], [scores**2], clusters).values():
        assert (gap.interval, gap.p) == (NO_INTERVAL, None) and gap.value is not None


def test_few_people_with_reals_leave_the_intervals_that_need_no_reals():
    labels, scores, people, _ = population(np.random.default_rng(5), 30)
    kept = (labels == 1) | (people < 5)
    clusters = Clusters(labels[kept], people[kept])
    assert clusters.generalises_to() == "new people; drivers unknown; this seed; too few people with reals (5)"
    found = estimates(labels[kept], [scores[kept]], clusters)
    assert found["fake_accuracy"].interval.low is not None
    assert {found[name].interval for name in ("auc", "real_accuracy", "balanced_accuracy")} == {NO_INTERVAL}


@pytest.mark.parametrize("people", [10, 60])
def test_a_perfect_score_has_an_interval_that_narrows_with_people(people):
    labels = np.repeat([0.0, 1.0], 3 * people)
    found = intervals(labels, 0.1 + 0.8 * labels, np.tile(np.arange(people), 6))
    for name in ("auc", "accuracy", "fake_accuracy"):
        # Wilson's lower end for n of n is n / (n + t²), with t of n - 1 degrees of freedom.
        low = people / (people + stats.t.ppf(0.975, people - 1) ** 2)
        assert (found[name].interval.low, found[name].interval.high) == (pytest.approx(low), 1.0)
    assert found["eer"].interval.low == 0.0 < found["eer"].interval.high


def test_logit_intervals_stay_within_0_and_1_and_need_more_degrees_of_freedom_to_narrow():
    few, many = (logit_interval(0.98, Variance(0.001, df), 20) for df in (2, 50))
    assert 0 < few.low < many.low < 0.98 < many.high < few.high < 1


def test_few_people_with_all_errors_have_few_degrees_of_freedom():
    labels = np.repeat([0.0, 1.0], 50)
    people = np.tile(np.arange(50), 2)
    one = np.where((labels == 1) & (people == 0), 0.1, 0.9 * labels + 0.05)
    spread = np.where((labels == 1) & (people % 2 == 0), 0.1, 0.9 * labels + 0.05)
    df = [Clusters(labels, people).sums(linearise(labels, s)["fake_accuracy"], 1).variance().df for s in (one, spread)]
    assert df[0] < 3 and df[1] == 49


def test_reals_too_few_for_an_fpr_leave_the_lower_end_at_0():
    labels, scores, people, _ = population(np.random.default_rng(6), 20, reals=1, fakes=3, auc=0.99)
    value, interval = tpr_at_fpr(labels, scores, 0.01, Clusters(labels, people))
    assert value > 0.5 and interval.low == 0.0  # 20 reals do not show what passes one in a hundred
    labels, scores, people, _ = population(np.random.default_rng(6), 200, reals=10, fakes=3, auc=0.99)
    value, interval = tpr_at_fpr(labels, scores, 0.01, Clusters(labels, people))
    truth = stats.norm.cdf(np.sqrt(2) * stats.norm.ppf(0.99) + stats.norm.ppf(0.01))
    assert 0.5 < interval.low < truth < interval.high < 0.95


def test_scope_of_an_interval_follows_from_people_and_drivers():
    labels, _, people, drivers = population(np.random.default_rng(7), 30, drivers=12)
    shared = Clusters(labels, people, drivers)
    assert shared.generalises_to() == "new people and drivers; this seed"
    assert shared.generalises_to(3) == "new people and drivers; new seeds"
    nine = [f"d{int(name[1:]) % 9}" for name in drivers]
    assert Clusters(labels, people, nine).generalises_to() == "new people; these 9 drivers; this seed"
    assert Clusters(labels, people, [None] * len(labels)).generalises_to() == "new people; drivers unknown; this seed"
    own = [f"d{person}" for person in people]
    assert Clusters(labels, people, own).generalises_to() == "new people; this seed"
    assert Clusters(labels[labels == 0], people[labels == 0]).generalises_to() == "new people; this seed"


def test_drivers_of_one_person_each_change_nothing():
    labels, scores, people, _ = population(np.random.default_rng(8), 30)
    own = [f"d{person}-{number % 2}" for number, person in enumerate(people)]
    assert intervals(labels, scores, people, own) == intervals(labels, scores, people)


@pytest.mark.slow
def test_intervals_cover_the_true_auc():
    random = np.random.default_rng(9)
    found = [intervals(*population(random, 15, auc=0.9))["auc"].interval for _ in range(200)]
    # 95 % of 200 are 190, with a standard deviation of 3.1; benchmarks/interval_coverage.py measures it more closely.
    assert 180 <= sum(one.low <= 0.9 <= one.high for one in found) <= 199


@pytest.mark.slow
def test_intervals_over_people_and_drivers_cover_the_auc_of_new_drivers():
    random = np.random.default_rng(10)
    covered = {"people": 0, "people and drivers": 0}
    for _ in range(100):
        labels, scores, people, drivers = population(random, 200, fakes=10, drivers=20)
        for name, known in (("people", None), ("people and drivers", drivers)):
            interval = intervals(labels, scores, people, known)["auc"].interval
            covered[name] += interval.low <= 0.85 <= interval.high
    assert covered["people"] < 86 and covered["people and drivers"] >= 88  # standard deviation of 95 %: 2.2


def test_the_interval_of_a_mean_over_seeds_covers_how_much_seeds_differ():
    labels, scores, people, _ = population(np.random.default_rng(11), 60)
    clusters = Clusters(labels, people)
    alike = estimates(labels, [scores, scores, scores], clusters)
    assert width(alike["auc"]) == pytest.approx(width(intervals(labels, scores, people)["auc"]), rel=1e-9)
    random = np.random.default_rng(12)
    seeds = [np.clip(scores + shift * labels + random.normal(0, 0.01, len(scores)), 0, 1) for shift in (-0.3, 0, 0.3)]
    apart = estimates(labels, seeds, clusters)
    for name in ("auc", "accuracy", "tpr_at_fpr_5"):
        assert width(apart[name]) > 1.5 * width(alike[name]), name
        of_one = [intervals(labels, one, people)[name].value for one in seeds]
        assert apart[name].value == pytest.approx(np.mean(of_one), abs=1e-12)


def two_detectors(random, people, gain=0.0, seeds=1, spread=0.0):
    """Scores of two detectors that find the same people hard; the first is better by ``gain``, seeds by ``spread``."""
    labels = np.tile(np.repeat([0.0, 1.0], (2, 4)), people)
    names = np.repeat(np.arange(people), 6)
    hard = random.normal(0, 1.0, people)[names]
    runs = []
    for extra in (gain, 0.0):
        shifts = extra + random.normal(0, spread, seeds)
        runs.append([(0.7 + shift) * (2 * labels - 1) + hard + random.normal(0, 0.7, len(labels)) for shift in shifts])
    return labels, *([1 / (1 + np.exp(-logit)) for logit in side] for side in runs), Clusters(labels, names)


def test_a_better_detector_has_a_significant_signed_difference():
    labels, better, worse, clusters = two_detectors(np.random.default_rng(0), 40, 1.5)
    found = paired_difference(labels, better, worse, clusters)
    other = paired_difference(labels, worse, better, clusters)
    for name, metric in (("accuracy", metrics.accuracy), ("auc", metrics.auc)):
        gap = found[name]
        assert gap.value == pytest.approx(metric(labels, better[0]) - metric(labels, worse[0]), abs=1e-12)
        assert gap.p < 0.01 and gap.interval.low > 0
        assert other[name].value == pytest.approx(-gap.value, abs=1e-12)
        assert other[name].interval.low == pytest.approx(-gap.interval.high, abs=1e-12)
        assert other[name].p == pytest.approx(gap.p, rel=1e-9)


def test_pairing_narrows_the_interval():
    labels, better, worse, clusters = two_detectors(np.random.default_rng(1), 40, 0.3)
    gap = paired_difference(labels, better, worse, clusters)["auc"].interval
    alone = [width(estimates(labels, scores, clusters)["auc"]) for scores in (better, worse)]
    assert gap.high - gap.low < 0.7 * np.hypot(*alone)


def test_a_detector_compared_with_itself_differs_by_0_with_an_uncertainty():
    labels, scores, _, clusters = two_detectors(np.random.default_rng(2), 40)
    gap = paired_difference(labels, scores, scores, clusters)["auc"]
    assert (gap.value, gap.p) == (0.0, 1.0)
    assert gap.interval.low < 0 < gap.interval.high


@pytest.mark.slow
def test_equal_detectors_rarely_differ_significantly():
    random = np.random.default_rng(7)
    small = [paired_difference(*two_detectors(random, 10))["auc"].p < 0.05 for _ in range(150)]
    assert sum(small) <= 15  # 7.5 are expected, with a standard deviation of 2.7


@pytest.mark.slow
def test_equal_detectors_whose_seeds_differ_rarely_differ_significantly():
    """Taking one seed's difference for the detectors', most comparisons would be significant."""
    random = np.random.default_rng(8)
    pooled, single = 0, 0
    for _ in range(60):
        labels, first, second, clusters = two_detectors(random, 60, seeds=3, spread=0.4)
        pooled += paired_difference(labels, first, second, clusters)["auc"].p < 0.05
        single += paired_difference(labels, first[:1], second[:1], clusters)["auc"].p < 0.05
    assert pooled <= 8 and single >= 30  # 3 are expected, with a standard deviation of 1.7


def test_p_values_are_adjusted_by_holm():
    # Sorted: 0.01 × 4, 0.02 × 3, 0.03 × 2 raised to the one before, 0.5 × 1; the missing one does not count.
    assert holm([0.02, None, 0.5, 0.01, 0.03]) == [pytest.approx(0.06), None, 0.5, pytest.approx(0.04), 0.06]
    assert holm([None]) == [None] and holm([0.7, 0.8]) == [1.0, 1.0]
