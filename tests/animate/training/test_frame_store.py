"""Training clips on disk: the same pictures as in memory, in an order that workers and interruptions do not change."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from deepfakemnist.animate.training.frame_store import pair_batches, store_clips
from deepfakemnist.animate.training.pair_batches import PairBatch
from deepfakemnist.animate.training.pairs import PairSampler, TrainingClip, load_clips
from deepfakemnist.animate.training.steps import step_random
from deepfakemnist.config.animators.fomm import TrainAnimatorSettings
from deepfakemnist.errors import ConfigError
from deepfakemnist.faces.facial_points import FACIAL_POINTS

SETTINGS = TrainAnimatorSettings(batch_size=4, size=32, frames_per_clip=8)


@pytest.fixture
def clips(moving_discs) -> list[TrainingClip]:
    points = np.random.default_rng(0).uniform(0, 31, (10, len(FACIAL_POINTS), 2)).astype(np.float32)
    points[3] = np.nan
    return [TrainingClip(frames, f"person{i}", points) for i, frames in enumerate(moving_discs)]


def stored(clips, folder: Path, settings=SETTINGS, workers: int = 0):
    return store_clips(clips, settings, folder / "frames", folder / "points", workers)


def batches(clips, folder: Path, steps: range, workers: int = 0, share: slice = slice(None)) -> list[PairBatch]:
    sampler = PairSampler(stored(clips, folder), SETTINGS)
    return list(pair_batches(sampler, steps, 4, partial(step_random, 7, "pairs"), workers, share))


def assert_equal(first: PairBatch, second: PairBatch) -> None:
    for one, other in zip(first.pairs(), second.pairs(), strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert torch.equal(one.nan_to_num(9), other.nan_to_num(9))


@pytest.mark.parametrize(
    "change", [{}, {"landmarks": 1.0}, {"far_pairs": 0.5}, {"landmarks": 1.0, "aperture_pairs": 0.9}]
)
def test_pairs_from_disk_are_those_from_memory(tmp_path, clips, change):
    settings = SETTINGS.model_copy(update=change)
    in_memory = PairSampler(load_clips(clips, settings, tmp_path), settings)
    on_disk = PairSampler(stored(clips, tmp_path, settings), settings)
    plans = in_memory.plan(20, torch.Generator().manual_seed(3))
    again = on_disk.plan(20, torch.Generator().manual_seed(3))
    assert [plan[:3] for plan in plans] == [plan[:3] for plan in again]
    assert_equal(in_memory.batch(plans), on_disk.batch(again))


def test_batches_do_not_depend_on_workers_or_on_where_a_training_resumes(tmp_path, clips):
    whole = batches(clips, tmp_path, range(1, 7))
    assert len(whole) == 6
    assert not torch.equal(whole[0].frames, whole[1].frames)
    for workers in (0, 1):
        for first, second in zip(whole[3:], batches(clips, tmp_path, range(4, 7), workers), strict=True):
            assert_equal(first, second)


def test_ranks_share_a_batch(tmp_path, clips):
    whole = batches(clips, tmp_path, range(1, 2))[0]
    parts = [batches(clips, tmp_path, range(1, 2), share=slice(rank, None, 2))[0] for rank in (0, 1)]
    assert torch.equal(whole.frames, torch.stack([parts[0].frames, parts[1].frames], 1).flatten(0, 1))


def test_stored_frames_are_kept_and_other_settings_get_files_of_their_own(tmp_path, clips):
    first = stored(clips, tmp_path)
    times = {clip.path: clip.path.stat().st_mtime_ns for clip in first}
    assert [clip.path for clip in stored(clips, tmp_path)] == [clip.path for clip in first]
    assert {path: path.stat().st_mtime_ns for path in times} == times
    smaller = stored(clips, tmp_path, SETTINGS.model_copy(update={"frames_per_clip": 4}))
    assert not set(times) & {clip.path for clip in smaller}
    assert [len(clip) for clip in smaller] == [4] * len(clips)


def test_a_damaged_file_is_named(tmp_path, clips):
    clip = stored(clips, tmp_path)[0]
    content = bytearray(clip.path.read_bytes())
    content[4:400] = bytes(396)
    clip.path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"{clip.path.name}, a training clip of person0, is damaged"):
        clip.pictures((0, 1))


@pytest.mark.slow
def test_clips_are_stored_by_several_processes(tmp_path, moving_discs):
    clips = [TrainingClip(frames + np.uint8(i), "a") for i in range(3) for frames in moving_discs[:6]]
    alone, together = stored(clips, tmp_path / "alone"), stored(clips, tmp_path / "together", workers=2)
    for first, second in zip(alone, together, strict=True):
        assert first.path.read_bytes() == second.path.read_bytes()
