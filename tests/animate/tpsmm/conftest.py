"""Fixtures: the narrowed and the full-size weights of tests/data/tpsmm, with outputs of the original program."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from deepfakemnist.animate.tpsmm.checkpoint import load_checkpoint
from deepfakemnist.animate.tpsmm.network import Architecture, ThinPlateSplineMotionModel

FIXTURES = Path(__file__).parents[2] / "data" / "tpsmm"
#: Factors on tensors of the full-size weights, beyond the rule of ``seeded``.
_SCALED = {
    "dense_motion_network/maps.weight": 0.5,
    "kp_detector/fg_encoder.fc.weight": 0.25,
    "kp_detector/fg_encoder.fc.bias": 5.0,
    "avd_network/decoder.9.weight": 0.2,
}


@pytest.fixture(scope="session")
def fixtures() -> Path:
    return FIXTURES


@pytest.fixture(scope="session")
def checkpoint() -> Path:
    return FIXTURES / "tiny_checkpoint.pth.tar"


@pytest.fixture(scope="session")
def networks(checkpoint) -> ThinPlateSplineMotionModel:
    """Not to be modified."""
    return load_checkpoint(checkpoint)


@pytest.fixture(scope="session")
def expected() -> dict[str, np.ndarray]:
    with np.load(FIXTURES / "tiny_expected.npz") as file:
        return dict(file)


@pytest.fixture(scope="session")
def official_shapes() -> dict[str, dict[str, list]]:
    return json.loads((FIXTURES / "full_shapes.json").read_text())["tensors"]


@pytest.fixture(scope="session")
def full_size(official_shapes) -> ThinPlateSplineMotionModel:
    """Networks of the official size, with the weights that full_seeded_expected.npz was made with."""
    networks = ThinPlateSplineMotionModel(Architecture())
    for part, shapes in official_shapes.items():
        network = getattr(networks, part)
        made = {name: seeded(part, name, shape) for name, shape in shapes.items()}
        if part == "dense_motion_network":
            made["down.weight"] = network.down.weight
        network.load_state_dict(made)
    return networks.eval()


def seeded(part: str, name: str, shape: list) -> Tensor:
    """Return a tensor by the rule of the reference: normal numbers seeded by its name, scaled by its kind."""
    if shape == ["int64"]:
        return torch.zeros((), dtype=torch.long)
    key, kind = f"{part}/{name}", name.rpartition(".")[2]
    normal = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(shape)
    if kind == "running_mean":
        values = 0.1 * normal
    elif kind == "running_var":
        values = 1 + 0.5 * np.abs(normal)
    elif kind == "weight":
        values = normal * np.sqrt(1.5 / np.prod(shape[1:])) if len(shape) > 1 else 1 + 0.2 * normal
    else:
        values = 0.2 * normal
    return torch.from_numpy((values * _SCALED.get(key, 1.0)).astype(np.float32))
