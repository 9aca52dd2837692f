"""Shards and batches: about the target size, and a video more or less changes one of them."""

import random

import pytest

from deepfakemnist.workflow.sharding import (
    batches,
    range_of,
    round_of,
    shard_of_round,
    split_into_shards,
    videos_per_shard,
)


def names(count, prefix="v"):
    return [f"{prefix}{number}" for number in range(count)]


def split(videos, size):
    return split_into_shards([(name, name) for name in videos], size)


def test_auto_occupies_every_core_with_few_videos_and_gives_many_videos_jobs_of_ten_minutes():
    assert len(split(names(30), "auto")) >= 6
    assert len(split(names(250), "auto")) >= 48
    large = split(names(10_000), "auto")
    assert 64 <= len(large) <= 90
    assert sum(map(len, large.values())) == 10_000
    assert len(split(names(100_000), "auto")) <= 1024


@pytest.mark.parametrize(("minutes", "videos"), [(1, 15), (10, 150), (60, 900)])
def test_minutes_are_as_many_videos_as_take_so_long(minutes, videos):
    assert videos_per_shard(f"{minutes}min") == videos
    assert split(names(3000), f"{minutes}min") == split(names(3000), videos)
    assert list(split(names(20), "10min")) == ["shard-0000"]


@pytest.mark.parametrize("size", ["auto", 1, 2, 10])
def test_values_of_one_video_stay_together_and_count_each(size):
    several = [(f"v{number % 20}", number) for number in range(60)]
    shards = split_into_shards(several, size)
    assert sorted(value for values in shards.values() for value in values) == list(range(60))
    assert all(
        {value % 20 for value in values} & {v % 20 for v in other} == set()
        for name, values in shards.items()
        for another, other in shards.items()
        if name < another
    )
    if size == 10:
        assert max(map(len, shards.values())) <= 14


@pytest.mark.parametrize(("count", "size"), [(1000, 50), (3000, 50), (300, 10), (10_000, 7), (5, 100)])
def test_a_shard_size_is_met_on_average_and_within_a_factor(count, size):
    shards = split(names(count), size)
    assert max(map(len, shards.values())) <= size * 2**0.5
    assert len(shards) <= max(2 * count / size, 1)
    assert sorted(name for held in shards.values() for name in held) == sorted(names(count))


def test_shards_of_one_video_have_its_id():
    assert split(names(3), 1) == {f"v{n}": [f"v{n}"] for n in range(3)}


def test_names_are_the_start_of_a_range_and_the_lower_half_keeps_that_of_the_whole():
    assert list(split(names(4), 4)) == ["shard-0000"]
    assert list(split(names(9), 6)) == ["shard-0000", "shard-8000"]
    # More halvings than four digits have.
    deep = split(names(30_000), 2)
    assert any(len(name) > len("shard-0000") for name in deep)


@pytest.mark.parametrize("size", ["auto", 1, 2, 10, 50])
def test_a_video_more_or_less_changes_one_shard(size):
    """At every size of the set: at 200 videos, at multiples of the shard size, at powers of two."""
    rows = names(600)
    random.Random(str(size)).shuffle(rows)
    before = split([], size)
    for count in range(1, len(rows) + 1):
        after = split(rows[:count], size)
        gone, new = changed(before, after), changed(after, before)
        assert len(gone) <= 1
        # One shard, or its halves; more only if all its videos but one are in one of them.
        assert 1 <= len(new) <= 3
        before = after


@pytest.mark.parametrize("size", ["auto", 1, 10])
def test_a_video_more_or_less_changes_one_batch(size):
    """Also from 1131 to 1132 clips of 800 per job, where the first batch is halved."""
    rows = names(1300)
    before = {}
    for count in range(1100, len(rows) + 1, 4):
        shards = split(rows[:count], size)
        jobs = batches({name: len(videos) for name, videos in shards.items()}, 800)
        after = {job: {video for name in held for video in shards[name]} for job, held in jobs.items()}
        assert count == 1100 or len(changed(before, after)) <= min(len(before), 4)
        before = after
    assert sorted(after) == ["batch-0000", "batch-8000"]


def test_batches_have_about_the_target_size():
    shards = [f"shard-{number * 128:04x}" for number in range(512)]
    jobs = batches(dict.fromkeys(shards, 25), 800)
    assert {job: len(held) for job, held in jobs.items()} == {f"batch-{n:x}000": 32 for n in range(16)}
    assert sorted(shard for held in jobs.values() for shard in held) == sorted(shards)
    assert batches(dict.fromkeys(shards, 27), 800) == jobs, "a few more clips leave every shard in its job"
    assert list(batches({"a": 3, "b": 0}, 800)) == ["batch-0000"]
    assert batches({"a": 3000}, 800) == {"batch-0000": ["a"]} or len(batches({"a": 3000}, 800)) == 1
    assert batches({}, 800) == {}


def test_batches_of_single_videos_stay_together_when_one_is_added():
    videos = {f"id1{number}#a#1": 10 for number in range(200)}
    before, after = batches(videos, 800), batches({**videos, "new": 10}, 800)
    assert len(before) == 2
    assert {job: set(held) - {"new"} for job, held in after.items()} == {job: set(held) for job, held in before.items()}


def test_a_fake_shard_names_its_range_and_round():
    assert shard_of_round("shard-0080", 3) == "shard-0080@3"
    assert (range_of("shard-0080@3"), round_of("shard-0080@3")) == ("shard-0080", 3)
    assert (range_of("shard-0080"), round_of("shard-0080")) == ("shard-0080", 1)
    assert list(batches({"shard-0080@3": 5}, 800)) == ["batch-0000@3"]


def changed(first, second):
    """Return the names of ``first`` with other contents in ``second``, or none."""
    return [name for name, rows in first.items() if second.get(name) != rows]
