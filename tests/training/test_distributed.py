"""Distributed training equals training in a single process: the same batches, the same final weights."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml

from deepfakemnist.config.dataset import CompressSettings
from deepfakemnist.config.detectors import DetectorTraining
from deepfakemnist.config.preparation import Preparation
from deepfakemnist.config.stages import CropSettings
from deepfakemnist.devices.distributed import Distributed
from deepfakemnist.devices.launch import launch_distributed
from deepfakemnist.errors import ConfigError
from deepfakemnist.training.checkpoint import load_checkpoint
from deepfakemnist.training.data import FrameSampler
from deepfakemnist.training.loop import train_detector

pytestmark = pytest.mark.slow

torch.set_num_threads(1)


def test_local_batches_make_up_the_batch_of_a_single_process():
    labels = np.array([0] * 5 + [1] * 8, np.int8)
    whole = list(FrameSampler(labels, [""] * 13, seed=3))
    parts = [list(FrameSampler(labels, [""] * 13, 3, "class", rank, 3)) for rank in range(3)]
    assert [len(part) for part in parts] == [5, 5, 5]  # 16 samples; the last one is left over
    assert [sample for step in zip(*parts, strict=True) for sample in step] == whole[:15]


def test_a_batch_size_that_the_world_size_does_not_divide():
    assert Distributed(1, 4).local_batch_size(32) == 8
    with pytest.raises(ConfigError, match="batch_size 30 is not divisible by the 4 processes"):
        Distributed(1, 4).local_batch_size(30)


def test_rows_of_a_video_go_to_one_rank_and_none_is_lost():
    videos = ["b", "a", "b", "c", "a", "d"]
    parts = [Distributed(rank, 2).local_rows(videos).tolist() for rank in range(2)]
    assert sorted(parts[0] + parts[1]) == list(range(6))
    assert not {videos[row] for row in parts[0]} & {videos[row] for row in parts[1]}


def history(folder):
    head, *rows = [line.split("\t") for line in (folder / "history.tsv").read_text().splitlines()]
    return [dict(zip(head, map(float, row), strict=True)) for row in rows]


def test_two_ranks_of_torchrun_reach_the_weights_of_a_single_process(data, tmp_path):
    """Without batch norm, which on CPUs sees only its rank's part of a batch; nothing else may differ."""
    recipe = {"name": "timm:test_vit.r160_in1k", "epochs": 2, "batch_size": 16, "augmentation": "strong"}
    recipe |= {"learning_rate": 0.003, "clip_norm": 1.0, "ema": 0.9}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    command = ("deepfakemnist.cli", "train", str(tmp_path), str(tmp_path / "two"), "--device", "cpu")
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({"crop": {"margin": 0.3, "size": 96}, "frames": {"png": True}}))
    (tmp_path / "more.yaml").write_text(yaml.safe_dump({"crop": {"size": 64}, "sources": {"cropped": True}}))
    arguments = ("--recipe", str(tmp_path / "recipe.yaml"), "--trained-on", "raw")
    arguments += ("--run-config", str(tmp_path / "run.yaml"), str(tmp_path / "more.yaml"))
    for name, path in (("frames", data.index), ("videos", data.videos)):
        (tmp_path / f"{name}.parquet").symlink_to(path)
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")
    done = subprocess.run(
        [*torchrun, *command, *arguments], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    one = tmp_path / "one"
    one.mkdir()
    files = one / "checkpoint.safetensors", one / "history.tsv"
    train_detector(data.index, data.videos, *files, DetectorTraining(**recipe), "raw", 0, "cpu")
    for row, other in zip(history(one), history(tmp_path / "two"), strict=True):
        assert row == pytest.approx(other, rel=1e-3, abs=1e-3)
    made = load_checkpoint(tmp_path / "two/checkpoint.safetensors", torch.device("cpu"))
    assert made.preparation == Preparation(
        clips="crops", crop=CropSettings(margin=0.3, size=64), qualities=CompressSettings().qualities
    )
    first, second = (
        load_checkpoint(folder / "checkpoint.safetensors", torch.device("cpu")).detector.state_dict()
        for folder in (one, tmp_path / "two")
    )
    assert len(history(one)) == 2
    # Adam divides by the magnitude of the gradient, so a weight whose gradient is rounding error alone follows it:
    # measured 8e-5 with AVX2 and 7e-6 with SSE4.1. Others may move by 0.03 in these 12 steps of up to 0.003.
    for name, value in first.items():
        assert torch.allclose(value, second[name], atol=1e-3), name


def test_the_error_of_a_rank_is_reported(data, tmp_path):
    recipe = DetectorTraining(name="meso4", image_size=32, epochs=1, batch_size=15)
    with pytest.raises(ConfigError, match=r"process \d of 2 failed: .*batch_size 15 is not divisible by the 2"):
        launch_distributed(
            train_detector, 2, tmp_path / "log", index=data.index, videos=data.videos, settings=recipe, seed=0,
            trained_on="raw", checkpoint=tmp_path / "c.safetensors", history=tmp_path / "h.tsv", device="cpu",
        )  # fmt: skip


def test_a_script_without_a_guard_launches_processes(tmp_path):
    """As Snakemake's scripts are, whose variables other processes lack."""
    script = tmp_path / "script.py"
    script.write_text(
        "from deepfakemnist.devices.launch import launch_distributed\n"
        "launch_distributed(dict, 2, device='cpu')\n"
        "print('done in', __file__)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert done.stdout == f"done in {script}\n", done.stderr[-2000:]
