"""Frame dataset and sampler: the right pixels, named errors, balanced classes."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch

from deepfakemnist.dataset.training_sets import resplit, select_rows
from deepfakemnist.errors import ConfigError
from deepfakemnist.tables.dataset_schemas import FRAME_INDEX, PUBLISHED_SPLIT, VIDEOS
from deepfakemnist.tables.files import write_table
from deepfakemnist.tables.schemas import FRAMES
from deepfakemnist.training import frame_reader
from deepfakemnist.training.data import FrameDataset, FrameSampler, make_loader, read_index
from deepfakemnist.training.frame_reader import BadFrame
from deepfakemnist.training.training_log import class_ratio

pytestmark = pytest.mark.slow


def shuffled_frames(data):
    frames = read_index(data.index, data.videos)
    return frames.take(np.random.default_rng(0).permutation(frames.num_rows))


def stored_images(data, frames):
    return [data.images[row["video_id"], row["quality"], row["frame_index"]] for row in frames.to_pylist()]


def test_every_frame_has_its_own_pixels_and_label(data):
    frames = shuffled_frames(data)
    dataset = FrameDataset(frames, image_size=32)
    assert len(dataset) == 24 * 2 * 2 * 4
    for position, (row, wanted) in enumerate(zip(frames.to_pylist(), stored_images(data, frames), strict=True)):
        pixels, label = dataset[position]
        assert pixels.dtype == torch.uint8
        assert np.array_equal(pixels.permute(1, 2, 0).numpy(), wanted)
        assert label.item() == row["label"]


def test_flipping_and_resizing(data):
    frames = shuffled_frames(data)
    wanted = stored_images(data, frames.slice(3, 1))[0]
    dataset = FrameDataset(frames, image_size=32, augmentation="flip")
    found = [dataset[3, seed][0].permute(1, 2, 0).numpy() for seed in range(20)]
    flipped = [np.array_equal(image, wanted[:, ::-1]) for image in found]
    assert all(flip or np.array_equal(image, wanted) for flip, image in zip(flipped, found, strict=True))
    assert 3 < sum(flipped) < 17
    small, _ = FrameDataset(frames, image_size=16)[3]
    assert small.shape == (3, 16, 16)
    assert small.float().mean().item() == pytest.approx(wanted.mean(), abs=1.0)


def test_strong_augmentation_follows_its_seed_and_keeps_the_global_generator(data):
    dataset = FrameDataset(shuffled_frames(data), image_size=32, augmentation="strong")
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    images = [dataset[3, seed][0] for seed in range(12)]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(dataset[3, seed][0], image) for seed, image in enumerate(images))
    assert {(image.dtype, tuple(image.shape)) for image in images} == {(torch.uint8, (3, 32, 32))}
    assert len({image.numpy().tobytes() for image in images}) > 8
    assert not torch.equal(dataset[3][0], dataset[3, 0][0]) or not torch.equal(dataset[3][0], dataset[3, 1][0])


def test_a_clip_is_a_frame_and_its_neighbours_in_temporal_order(data):
    frames = shuffled_frames(data)
    rows = frames.to_pylist()
    dataset = FrameDataset(frames, image_size=32, clip_frames=3, augmentation="flip")
    for position in range(0, 60, 7):
        row = rows[position]
        first = min(max(row["frame_index"] - 1, 0), 1)  # four frames are stored
        pixels, label = dataset[position]
        assert pixels.shape == (3, 3, 32, 32) and label == row["label"]
        for number, image in enumerate(pixels):
            stored = data.images[row["video_id"], row["quality"], first + number]
            assert np.array_equal(image.permute(1, 2, 0).numpy(), stored)
    long, _ = FrameDataset(frames, image_size=32, clip_frames=6)[0]
    assert torch.equal(long[3], long[5])  # the last frame repeated
    assert not torch.equal(long[2], long[3])


def test_a_cache_of_one_row_group_and_two_files_reads_the_same(data, monkeypatch):
    monkeypatch.setattr(frame_reader, "_CACHE_BYTES", 1)
    monkeypatch.setattr(frame_reader, "_OPEN_FILES", 2)
    frames = shuffled_frames(data).slice(0, 60)
    dataset = FrameDataset(frames, image_size=32)
    for position, wanted in enumerate(stored_images(data, frames)):
        assert np.array_equal(dataset[position][0].permute(1, 2, 0).numpy(), wanted)


def test_workers_give_the_same_batches_as_this_process(data):
    frames = select_rows(read_index(data.index, data.videos), "val", "raw")
    dataset = FrameDataset(frames, image_size=32)
    sampler = FrameSampler(dataset.labels, frames["action"].to_pylist(), seed=3)
    in_process = list(make_loader(dataset, 8, workers=0, sampler=sampler))
    by_workers = list(make_loader(FrameDataset(frames, image_size=32), 8, workers=2, sampler=sampler))
    assert len(in_process) == len(by_workers) == 48 // 8
    for (pixels, labels), (same_pixels, same_labels) in zip(in_process, by_workers, strict=True):
        assert torch.equal(pixels, same_pixels)
        assert torch.equal(labels, same_labels)


def test_actions_and_people_come_from_the_videos(data):
    frames = read_index(data.index, data.videos).to_pylist()
    facts = {(row["video_id"], row["quality"]): row for row in data.video_rows}
    assert len(frames) == len(data.index_rows)
    for row in frames:
        wanted = facts[row["video_id"], row["quality"]]
        assert (row["action"], row["person_id"]) == (wanted["action"], wanted["person_id"])


def people_of(frames, label):
    return {row["person_id"] for row in frames.to_pylist() if row["label"] == label}


def test_fakes_of_unknown_sources_get_other_reals_until_the_classes_are_even(data):
    """As in a published tree, which does not say whose face a fake shows."""
    frames = read_index(data.index, data.videos)
    unknown = frames.set_column(frames.schema.get_field_index("source_id"), "source_id", frames["video_id"])
    only = select_rows(unknown, "train", "raw-only-nod").to_pylist()
    videos = {(row["label"], row["video_id"]) for row in only}
    assert [sum(label == wanted for label, _ in videos) for wanted in (0, 1)] == [6, 6]
    assert sorted(videos) == sorted({(row["label"], row["video_id"]) for row in only if row["quality"] == "raw"})


def test_a_set_without_an_animator_leaves_out_its_fakes_and_their_reals(data):
    frames = read_index(data.index, data.videos)
    train = select_rows(frames, "train", "raw").to_pylist()
    sources = sorted({row["source_id"] for row in train if row["label"] == 1})
    of_mesh = set(sources[::2])
    labels = [
        "" if not row["label"] else "mesh" if row["source_id"] in of_mesh else "fomm" for row in frames.to_pylist()
    ]
    made = frames.set_column(frames.schema.get_field_index("animator"), "animator", pa.array(labels))
    for name, kept in (("raw-only-mesh", of_mesh), ("raw-without-mesh", {*sources} - of_mesh)):
        rows = select_rows(made, "train", name).to_pylist()
        assert {row["source_id"] for row in rows if row["label"] == 1} == kept
        assert {row["video_id"] for row in rows if row["label"] == 0} == kept
    assert select_rows(made, "test", "raw").num_rows == select_rows(frames, "test", "raw").num_rows


def test_splits_of_training_sets(data):
    frames = read_index(data.index, data.videos)
    for split, remainders in (("train", (1, 2)), ("val", (3,)), ("test", (0,))):
        chosen = select_rows(frames, split, "raw-split-paper")
        wanted = {f"p{n:02d}" for n in range(24) if n % 4 in remainders}
        assert people_of(chosen, 0) == people_of(chosen, 1) == wanted
    tested = []
    for fold in range(3):
        parts = [people_of(select_rows(frames, split, f"raw-fold-{fold}"), 1) for split in ("train", "val", "test")]
        assert [len(part) for part in parts] == [8, 8, 8] and len(set.union(*parts)) == 24
        assert parts[2] == {f"p{n:02d}" for n in range(24) if n % 3 == fold}
        tested += parts[2]
    assert len(tested) == len(set(tested)) == 24  # everybody is tested once
    with pytest.raises(ConfigError, match="'raw-fold-7', but this manifest has no split fold-7"):
        select_rows(frames, "train", "raw-fold-7")
    none = pa.nulls(len(frames), pa.string())
    unsplit = frames.set_column(frames.schema.get_field_index("split_paper"), "split_paper", none)
    with pytest.raises(ConfigError, match="has no split paper"):
        resplit(unsplit, "raw-split-paper")


def test_smaller_training_sets_are_nested_and_have_all_of_val(data):
    frames = read_index(data.index, data.videos)
    people = [people_of(select_rows(frames, "train", name), 1) for name in ("raw-people-10", "raw-people-50", "raw")]
    assert [len(part) for part in people] == [2, 6, 12]  # 10 % of 12 people are 1.2, rounded up
    assert people[0] < people[1] < people[2]
    assert select_rows(frames, "val", "raw-people-10").equals(select_rows(frames, "val", "raw"))


def test_the_class_ratio_is_stated_by_videos_and_frames(data):
    frames = read_index(data.index, data.videos)
    assert class_ratio(select_rows(frames, "train", "raw-only-nod")) == (
        "24 frames of 6 fakes, 24 frames of 6 reals, 1.00 fake frames per real one"
    )
    more = frames.filter(pc.or_(pc.equal(frames["label"], 1), pc.equal(frames["person_id"], "p00")))
    assert class_ratio(select_rows(more, "train", "raw")).endswith(" 12.00 fake frames per real one")


def test_selection_by_split_quality_and_action(data):
    frames = read_index(data.index, data.videos)
    raw = select_rows(frames, "test", "raw")
    assert (set(raw["split"].to_pylist()), set(raw["quality"].to_pylist())) == ({"test"}, {"raw"})
    assert select_rows(frames, "test", "mixed").num_rows == 2 * raw.num_rows
    only = select_rows(frames, "train", "raw-only-nod")
    assert people_of(only, 0) == people_of(only, 1)  # the reals of these fakes, one each
    assert set(zip(only["label"].to_pylist(), only["action"].to_pylist(), strict=True)) == {(0, ""), (1, "nod")}
    rest = select_rows(frames, "train", "mixed-without-nod")
    assert set(zip(rest["label"].to_pylist(), rest["action"].to_pylist(), strict=True)) == {(0, ""), (1, "blink")}
    assert set(rest["quality"].to_pylist()) == {"raw", "c40"}
    apart = select_rows(frames, "train", "raw-by-driver")
    assert people_of(apart, 0) == people_of(apart, 1) == {f"p{n:02d}" for n in (0, 2, 4, 6, 16, 18, 20, 22)}
    with pytest.raises(ConfigError, match="trained_on: 'c23' has no frames; the index has c40, raw"):
        select_rows(frames, "train", "c23")


def rewrite_frame(data, row, **changes):
    path = Path(row["shard_path"])
    rows = pq.read_table(path).to_pylist()
    rows[row["shard_row"]].update(changes)
    pq.write_table(pa.Table.from_pylist(rows, schema=FRAMES), path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": b"not an image!"}, "its 13 bytes are not an image"),
        ({"image": None}, "no image"),
        ({"status": "failed"}, "the row has status 'failed'"),
        ({"frame_index": 9}, r"the row holds p00#a, raw, frame 9\. The shard was rewritten"),
        ({"video_id": "other"}, "the row holds other, raw, frame 1"),
    ],
)
def test_a_bad_frame_is_named_and_never_replaced(own_data, changes, message):
    row = own_data.index_rows[1]
    rewrite_frame(own_data, row, **changes)
    frames = read_index(own_data.index, own_data.videos)
    with pytest.raises(BadFrame, match=rf"video p00#a, quality raw, frame 1 \(.*frames0.parquet, row 1\): .*{message}"):
        list(make_loader(FrameDataset(frames, image_size=32), 4, workers=0))


def test_a_bad_frame_is_named_from_a_worker_too(own_data):
    rewrite_frame(own_data, own_data.index_rows[1], image=b"not an image")
    frames = read_index(own_data.index, own_data.videos)
    with pytest.raises(BadFrame, match="video p00#a, quality raw, frame 1 "):
        list(make_loader(FrameDataset(frames, image_size=32), 4, workers=1))


def test_a_row_beyond_the_end_of_its_shard_is_named(own_data):
    frames = read_index(own_data.index, own_data.videos)
    position = frames["shard_row"].to_pylist().index(23)
    path = Path(frames["shard_path"][position].as_py())
    pq.write_table(pq.read_table(path).slice(0, 20), path)
    with pytest.raises(BadFrame, match="row 23.*the shard has only 20 rows"):
        FrameDataset(frames, image_size=32)[position]


def test_a_shard_that_is_not_parquet_is_named(own_data):
    frames = read_index(own_data.index, own_data.videos)
    Path(own_data.index_rows[0]["shard_path"]).write_bytes(b"torn")
    with pytest.raises(BadFrame, match=r"video p00#a.*frames0\.parquet"):
        FrameDataset(frames, image_size=32)[0]


def test_a_missing_shard_is_named(own_data):
    Path(own_data.index_rows[0]["shard_path"]).unlink()
    with pytest.raises(ConfigError, match=r"names 1 shards of frames that do not exist, e\.g\. .*frames0\.parquet"):
        read_index(own_data.index, own_data.videos)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.pop(0), "frames of .* have no video in .*e.g. p00#a at raw"),
        (lambda rows: rows.append(rows[0]), "1 videos have two rows at one quality, e.g. p00#a"),
        (lambda rows: rows[0].update(label=1), "label of video p00#a differs"),
        (lambda rows: rows[0].update(split="test"), r"1 people are in more than one split, e\.g\. p00"),
        (lambda rows: [row.update(split="val") for row in rows if row["person_id"] == "p00"], "split of video p00#a"),
    ],
)
def test_inconsistent_tables_are_refused(own_data, change, message):
    change(own_data.video_rows)
    write_table(own_data.video_rows, own_data.videos, VIDEOS)
    with pytest.raises(ConfigError, match=message):
        read_index(own_data.index, own_data.videos)


def test_a_published_split_is_kept_with_a_warning(own_data, caplog):
    for row in (*own_data.video_rows, *own_data.index_rows):
        if row["video_id"] == "p00#a":  # of which the fake stays in train
            row["split"] = "test"
    write_table(own_data.index_rows, own_data.index, FRAME_INDEX)
    write_table(own_data.video_rows, own_data.videos, VIDEOS, PUBLISHED_SPLIT)
    assert read_index(own_data.index, own_data.videos).num_rows == len(own_data.index_rows)
    assert "1 people are in more than one split" in caplog.text


def test_a_table_without_the_columns_is_refused(own_data):
    pq.write_table(pa.table({"video_id": ["a"]}), own_data.index)
    with pytest.raises(ConfigError, match=r"has no column label, .*it has video_id"):
        read_index(own_data.index, own_data.videos)
    assert "shard_row" in FRAME_INDEX.names


def rows_of(sampler):
    return [row for row, _ in sampler]


def test_sampler_balances_unequal_classes():
    labels = np.array([0] * 7 + [1] * 20, np.int8)
    sampler = FrameSampler(labels, ["nod"] * 27, seed=1)
    rows = rows_of(sampler)
    assert len(rows) == len(sampler) == 40
    assert sorted(row for row in rows if labels[row] == 1) == list(range(7, 27))  # each once
    times = np.bincount([row for row in rows if labels[row] == 0])
    assert times.sum() == 20
    assert set(times) == {2, 3}


def test_sampler_balances_actions():
    labels = np.array([0] * 5 + [1] * 16, np.int8)
    actions = [""] * 5 + ["nod"] * 12 + ["blink"] * 3 + ["yaw"]
    sampler = FrameSampler(labels, actions, seed=1, sampling="action")
    sampled = [actions[row] for row in rows_of(sampler)]
    assert {action: sampled.count(action) for action in set(actions)} == {"": 18, "nod": 6, "blink": 6, "yaw": 6}
    assert len(sampler) == 36


def test_natural_sampling_takes_every_frame_once():
    labels = np.array([0] * 5 + [1] * 16, np.int8)
    sampler = FrameSampler(labels, [""] * 21, seed=1, sampling="natural")
    assert sorted(rows_of(sampler)) == list(range(21))
    assert rows_of(sampler) != list(range(21))


def test_samples_follow_from_seed_and_epoch():
    labels = np.array([0, 1] * 20, np.int8)

    def samples(seed, epoch):
        sampler = FrameSampler(labels, [""] * 40, seed)
        sampler.epoch = epoch
        return list(sampler)

    assert samples(1, 1) == samples(1, 1)
    assert samples(1, 1) != samples(1, 2)
    assert samples(1, 1) != samples(2, 1)
