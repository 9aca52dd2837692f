"""Training and inference of detectors on a GPU; every test needs one."""

import csv
import logging
import math

import numpy as np
import pytest
import torch

from deepfakemnist.config.detectors import DetectorTraining
from deepfakemnist.detectors.registry import build
from deepfakemnist.tables.files import read_table
from deepfakemnist.training.loop import train_detector
from deepfakemnist.training.predict import predict

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_detector_trained_on_a_gpu_scores_there_as_on_the_cpu(own_data, tmp_path, workers, caplog):
    recipe = DetectorTraining(name="meso4", image_size=32, epochs=3, batch_size=8)
    checkpoint, history = tmp_path / "checkpoint.safetensors", tmp_path / "history.tsv"
    with caplog.at_level(logging.WARNING):
        train_detector(own_data.index, own_data.videos, checkpoint, history, recipe, "raw", 0, "cuda", workers)
    assert "bfloat16" not in caplog.text
    with history.open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert all(math.isfinite(float(row["train_loss"])) for row in rows)
    logits = {}
    for device in ("cuda", "cpu"):
        table = tmp_path / f"{device}.parquet"
        predict(own_data.index, own_data.videos, checkpoint, table, device, workers)
        logits[device] = read_table(table)["logit"].to_numpy()
    assert np.abs(logits["cuda"] - logits["cpu"]).max() < 1e-4


@pytest.mark.parametrize("name", ["resnet50"])
def test_a_large_detector_scores_on_a_gpu_as_on_the_cpu(name):
    torch.manual_seed(0)
    detector = build(name).eval()
    pixels = torch.randint(0, 256, (4, *detector.sample_shape), dtype=torch.uint8)
    with torch.inference_mode():
        on_cpu = detector(pixels)
        on_gpu = detector.to("cuda")(pixels.to("cuda")).cpu()
    # With random weights the spread of logits is small, and so must the difference be.
    assert (on_gpu - on_cpu).abs().max() < 1e-3 * max(1.0, on_cpu.abs().max().item())
