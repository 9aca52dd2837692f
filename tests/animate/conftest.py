"""Fixtures: the tiny checkpoint of tests/data/fomm with reference outputs of the original program, models, clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from deepfakemnist.config.animators.fomm import DenseMotionModel, FommModel, GeneratorModel, KeypointModel

FIXTURES = Path(__file__).parents[1] / "data" / "fomm"

#: Largest deviations of float32 runs of the tiny networks from float64, measured with SSE4.1, AVX and AVX2 and in the
#: output of the original program. Keypoints are sums over a heat map of temperature 0.1, which amplifies rounding
#: errors of the logits tenfold; outputs computed from a run's own keypoints inherit that.
FROM_FLOAT64 = {
    "value": 4.1e-6,
    "jacobian": 9.4e-7,
    "mask": 8.2e-7,
    "occlusion": 1.7e-7,
    "prediction": 1.5e-6,
    "mask of own keypoints": 8.9e-6,
    "occlusion of own keypoints": 1.4e-6,
    "prediction of own keypoints": 4.6e-6,
}


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def rounding() -> dict[str, float]:
    """Tolerances between two float32 runs: twice the measured deviation from float64, in opposite directions."""
    return {name: 4 * distance for name, distance in FROM_FLOAT64.items()}


@pytest.fixture(scope="session", params=["float32", "float64"])
def arithmetic(request, rounding) -> tuple[torch.dtype, dict[str, float]]:
    """dtype of the networks, with tolerances to the output of the original program.

    In float64 only the rounding of the original remains, on any processor.
    """
    return (torch.float32, rounding) if request.param == "float32" else (torch.float64, FROM_FLOAT64)


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
    """Architecture of tiny_config.json."""
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
    """Architecture that trains on 32×32 images in seconds."""
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
    """Six clips of 10 frames, (10, 32, 32, 3) uint8: a soft disc of random colour moves over a grey background."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32].astype(np.float32)
    clips = []
    for _ in range(6):
        colour, background = random.uniform(120, 255, 3), random.uniform(40, 90)
        frames = []
        for centre in np.linspace(random.uniform(8, 12, 2), random.uniform(20, 24, 2), 10):
            disc = 1 / (1 + np.exp(np.hypot(x - centre[0], y - centre[1]) - 6))[..., None]
            frames.append(disc * colour + (1 - disc) * background)
        clips.append(np.stack(frames).astype(np.uint8))
    return clips
