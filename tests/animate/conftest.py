"""The tiny checkpoint of tests/data/fomm and what the original program made of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from deepfakemnist.animator_settings import DenseMotionModel, FommModel, GeneratorModel, KeypointModel

FIXTURES = Path(__file__).parents[1] / "data" / "fomm"


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def fixtures() -> Path:
    return FIXTURES


@pytest.fixture(scope="session")
def tiny_checkpoint() -> Path:
    return FIXTURES / "tiny_checkpoint.pth.tar"


@pytest.fixture(scope="session")
def expected() -> dict[str, np.ndarray]:
    with np.load(FIXTURES / "tiny_expected.npz") as file:
        return dict(file)


@pytest.fixture(scope="session")
def tiny_model() -> FommModel:
    """The architecture of tiny_config.json."""
    widths = {"block_expansion": 8, "max_features": 32, "num_blocks": 3}
    return FommModel(
        num_kp=5,
        keypoints=KeypointModel(**widths),
        generator=GeneratorModel(
            block_expansion=8, max_features=32, num_bottleneck_blocks=2, dense_motion=DenseMotionModel(**widths)
        ),
    )


@pytest.fixture(scope="session")
def small_model() -> FommModel:
    """An architecture that trains on 32×32 pictures in seconds."""
    widths = {"block_expansion": 8, "max_features": 32, "num_blocks": 2, "scale_factor": 0.5}
    return FommModel(
        num_kp=4,
        keypoints=KeypointModel(**widths),
        generator=GeneratorModel(
            block_expansion=8,
            max_features=32,
            num_bottleneck_blocks=1,
            dense_motion=DenseMotionModel(**widths),
            full_resolution_skip=True,
        ),
    )


@pytest.fixture(scope="session")
def moving_discs() -> list[np.ndarray]:
    """Six clips of 10 frames, (10, 32, 32, 3) uint8: a soft disc of another colour each wanders over a grey ground."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32].astype(np.float32)
    clips = []
    for _ in range(6):
        colour, ground = random.uniform(120, 255, 3), random.uniform(40, 90)
        frames = []
        for centre in np.linspace(random.uniform(8, 12, 2), random.uniform(20, 24, 2), 10):
            disc = 1 / (1 + np.exp(np.hypot(x - centre[0], y - centre[1]) - 6))[..., None]
            frames.append(disc * colour + (1 - disc) * ground)
        clips.append(np.stack(frames).astype(np.uint8))
    return clips
