from deepfakemnist.road import cut


def names(count):
    return [{"video_id": f"v{number}"} for number in range(count)]


def test_auto_gives_one_job_per_video_up_to_200_and_about_400_shards_beyond():
    assert sorted(cut(names(200), "auto")) == sorted(f"v{n}" for n in range(200))
    large = cut(names(10_000), "auto")
    assert 390 <= len(large) <= 400
    assert sum(map(len, large.values())) == 10_000


def test_a_new_video_changes_one_shard():
    before, after = cut(names(5_000), "auto"), cut(names(5_001), "auto")
    assert sum(before.get(name) != rows for name, rows in after.items()) == 1


def test_fixed_shard_size_is_met_on_average():
    shards = cut(names(1000), 50)
    assert len(shards) == 20
    assert cut(names(3), 1).keys() == {"v0", "v1", "v2"}
