"""ImageNet weights that one machine downloads, for trainings on machines without internet."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from weights_hub import NETWORK, weights_hub

from deepfakemnist.config.detectors import DetectorTraining
from deepfakemnist.training.loop import train_detector

STORE = """
import sys
from pathlib import Path
from deepfakemnist.training.imagenet import store_imagenet_weights
store_imagenet_weights(sys.argv[1], Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_a_training_starts_from_the_stored_file_where_nothing_can_be_downloaded(
    data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, requests = tmp_path / "weights/network.safetensors", []
    with weights_hub(requests) as hub:
        # In a process of its own: huggingface_hub reads its variables as it is imported.
        environment = {**os.environ, **hub, "HF_HOME": str(tmp_path / "hub"), "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, "-c", STORE, NETWORK, str(path)], env=environment, check=True, timeout=120)
    assert any(request.startswith("GET") and "model.safetensors" in request for request in requests)

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    # At this rate the weights stay where they start.
    recipe = DetectorTraining(
        name=NETWORK, weights="imagenet", image_size=32, epochs=1, batch_size=32, learning_rate=1e-12
    )
    checkpoint = tmp_path / "checkpoint.safetensors"
    train_detector(
        data.index, data.videos, checkpoint, tmp_path / "history.tsv", recipe, "raw", 0, "cpu", imagenet=path
    )
    stored, trained = load_file(path), load_file(checkpoint)
    kernels = {name: value for name, value in stored.items() if value.ndim == 4}
    assert len(kernels) > 5
    for name, value in kernels.items():
        found = next(tensor for key, tensor in trained.items() if key.endswith(f"body.{name}"))
        torch.testing.assert_close(found, value, rtol=0, atol=1e-6)
