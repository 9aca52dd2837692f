"""Partition by hash: nobody moves when others come or go, and no part is empty."""

import random
from collections import Counter

import pytest

from deepfakemnist.planning.partition import partition

SHARES = {"test": 0.15, "val": 0.15, "train": 0.7}


def people(count):
    return [f"p{number}" for number in range(count)]


@pytest.mark.parametrize("seed", range(4))
def test_nobody_moves_when_people_are_added(seed):
    everyone = people(2000)
    random.Random(seed).shuffle(everyone)
    final = partition(everyone, SHARES, seed)
    for count in range(100, 2000, 37):
        part = partition(everyone[:count], SHARES, seed)
        assert part == {name: final[name] for name in everyone[:count]}


def test_shares_are_expectations():
    counts = Counter(partition(people(10_000), SHARES, 1).values())
    # Four standard deviations of a binomial distribution.
    assert abs(counts["test"] - 1500) < 143 and abs(counts["val"] - 1500) < 143


def test_a_small_set_has_exact_sizes():
    for seed in range(20):
        assert Counter(partition(people(10), {"a": 0.2, "b": 0.3, "c": 0.5}, seed).values()) == {"a": 2, "b": 3, "c": 5}


@pytest.mark.parametrize("count", [3, 5, 11, 12, 16, 25, 40])
def test_no_part_is_empty(count):
    for seed in range(50):
        assert set(partition(people(count), SHARES, seed).values()) == set(SHARES)
        folds = partition(people(count), dict.fromkeys(range(3), 1 / 3), seed)
        assert set(folds.values()) == {0, 1, 2}


def test_order_and_duplicates_do_not_matter_and_the_key_does():
    found = partition(people(300), SHARES, 1, "split")
    assert partition(people(300)[::-1] * 2, SHARES, 1, "split") == found
    assert partition(people(300), SHARES, 2, "split") != found
    assert partition(people(300), SHARES, 1, "fold") != found


def test_a_share_of_zero_gets_nobody_and_no_names_are_no_error():
    assert set(partition(people(100), {"test": 0.5, "val": 0.0, "train": 0.5}, 1).values()) == {"test", "train"}
    assert partition([], SHARES, 1) == {}
    assert set(partition(people(7), {"all": 1.0}, 1).values()) == {"all"}
