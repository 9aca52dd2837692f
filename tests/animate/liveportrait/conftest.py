"""Tiny LivePortrait of tests/data/liveportrait: its five files, its networks, outputs of the original program."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from deepfakemnist.animate.liveportrait.checkpoint import Weights, load_weights
from deepfakemnist.animate.liveportrait.face_motion import FaceMotion
from deepfakemnist.animate.liveportrait.network import LivePortrait

DATA = Path(__file__).parents[2] / "data" / "liveportrait"
NETWORKS = ("appearance_feature_extractor", "motion_extractor", "warping_module", "spade_generator")
#: Seed of the tiny weights.
_SEED, _MANTISSA = 20240703, 24


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.inference_mode():
        yield


@pytest.fixture(scope="session")
def expected() -> dict[str, np.ndarray]:
    with np.load(DATA / "tiny_expected.npz") as file:
        return dict(file)


@pytest.fixture(scope="session")
def tiny_states() -> dict[str, dict[str, Tensor]]:
    """State dicts as in the official files; see the README of the data."""
    parts = json.loads((DATA / "tiny_weights.json").read_text())
    with np.load(DATA / "tiny_weights.npz") as file:
        values = file["values"]
    # The stream of numbers that torch.manual_seed starts, and that numpy promises to keep.
    stream = np.random.RandomState(_SEED).randint(0, 1 << 32, 1_300_000, dtype=np.uint32)
    uniform = (stream % (1 << _MANTISSA)) / float(1 << _MANTISSA)

    def tensor(line: dict[str, Any]) -> Tensor:
        if "count" in line:
            return torch.tensor(line["count"])
        shape = line["shape"]
        size = int(np.prod(shape))
        if "stored" in line:
            return torch.from_numpy(values[line["stored"] :][:size].reshape(shape).copy())
        bound = float(np.float32(1 / np.sqrt(np.prod(shape[1:]))))
        drawn = (uniform[line["drawn"] :][:size] * (2 * bound) - bound).astype(np.float32).reshape(shape)
        if "factors" in line:
            drawn *= values[line["factors"] :][: shape[0]].reshape(-1, *[1] * (len(shape) - 1))
        return torch.from_numpy(drawn)

    return {part: {name: tensor(line) for name, line in lines.items()} for part, lines in parts.items()}


def write_folder(folder: Path, states: dict[str, dict[str, Tensor]]) -> Path:
    """Write state dicts as the official program has them."""
    for subfolder in ("base_models", "retargeting_models"):
        (folder / subfolder).mkdir(parents=True)
    for part in NETWORKS:
        torch.save(states[part], folder / "base_models" / f"{part}.pth")
    rest = {part: state for part, state in states.items() if part not in NETWORKS}
    torch.save(rest, folder / "retargeting_models" / "stitching_retargeting_module.pth")
    return folder


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory, tiny_states) -> Path:
    return write_folder(tmp_path_factory.mktemp("liveportrait") / "weights", tiny_states)


@pytest.fixture(scope="session")
def loaded(tiny_folder) -> Weights:
    return load_weights(tiny_folder)


@pytest.fixture
def tiny_weights(loaded) -> Weights:
    """Return a copy that a test may change."""
    return replace(loaded, networks=copy.deepcopy(loaded.networks))


@pytest.fixture
def tiny(tiny_weights) -> LivePortrait:
    return tiny_weights.networks


def pictures(levels: np.ndarray) -> Tensor:
    """(T, H, W, 3) in 0..255 → (T, 3, H, W) in 0..1."""
    return torch.from_numpy(levels).permute(0, 3, 1, 2).float() / 255


@pytest.fixture(scope="session")
def stored_motion(expected):
    """Motion of the source or of the driver as the original extracted it."""

    def motion(of: str) -> FaceMotion:
        return FaceMotion(*(torch.from_numpy(expected[f"{of}_{name}"]) for name in ("kp", "exp", "R", "scale", "t")))

    return motion
