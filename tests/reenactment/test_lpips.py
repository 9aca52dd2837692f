"""LPIPS by weights from a file: the metric's definition, computed here step by step, and files that do not fit."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models import alexnet

from deepfakemnist.config.base import WeightFile
from deepfakemnist.devices.tensor_files import load_tensors
from deepfakemnist.errors import ConfigError
from deepfakemnist.reenactment.lpips import Lpips
from deepfakemnist.tables.checksums import file_facts

pytestmark = pytest.mark.slow

#: Layers of AlexNet after whose ReLU activations are compared.
RELUS = (1, 4, 7, 9, 11)
MEAN, SPREAD = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return alexnet(weights=None).eval()


@pytest.fixture(scope="module")
def weights(network: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> WeightFile:
    path = tmp_path_factory.mktemp("weights") / "alexnet.pth"
    torch.save(network.state_dict(), path)
    return WeightFile(path=path, sha256=file_facts(path).sha256)


def expected(network: torch.nn.Module, first: np.ndarray, second: np.ndarray) -> float:
    """Zhang et al. 2018, equation 1: weighted squared differences of unit activations, averaged over the picture."""
    linear = load_tensors(str(files("torchmetrics").joinpath("functional/image/lpips_models/alex.pth")))
    shift, scale = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, SPREAD))
    stacks = []
    for picture in (first, second):
        pixels = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1
        pixels = (pixels - shift) / scale
        found = []
        for number, layer in enumerate(network.features):
            pixels = layer(pixels.clone())
            if number in RELUS:
                found.append(pixels / (pixels.square().sum(1, keepdim=True).sqrt() + 1e-8))
        stacks.append(found)
    total = 0.0
    for number, (one, other) in enumerate(zip(*stacks, strict=True)):
        weight = linear[f"lin{number}.model.1.weight"]
        total += float(((one - other).square() * weight).sum(1).mean())
    return total


def test_the_distance_is_that_of_the_definition(network: torch.nn.Module, weights: WeightFile) -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 256, (2, 10, 64, 64, 3), dtype=np.uint8)
    lpips = Lpips(weights, torch.device("cpu"))
    with torch.inference_mode():
        wanted = np.mean([expected(network, one, other) for one, other in zip(first, second, strict=True)])
    assert wanted > 0
    # float32 sums in another order.
    assert lpips(first, second) == pytest.approx(wanted, rel=1e-4)
    assert lpips(first, first) == 0.0


def test_files_that_do_not_fit_are_named(weights: WeightFile, tmp_path: Path) -> None:
    cpu = torch.device("cpu")
    with pytest.raises(ConfigError, match="does not exist; null measures no LPIPS"):
        Lpips(WeightFile(path=tmp_path / "no.pth", sha256="0" * 64), cpu)
    with pytest.raises(ConfigError, match="but the config expects 0000"):
        Lpips(WeightFile(path=weights.path, sha256="0" * 64), cpu)
    torch.save({"features.0.weight": torch.ones(2)}, tmp_path / "other.pth")
    with pytest.raises(ConfigError, match="not a state_dict of torchvision's AlexNet"):
        Lpips(WeightFile(path=tmp_path / "other.pth", sha256=file_facts(tmp_path / "other.pth").sha256), cpu)
    (tmp_path / "text.pth").write_text("no tensors")
    with pytest.raises(ConfigError, match="not a PyTorch checkpoint"):
        Lpips(WeightFile(path=tmp_path / "text.pth", sha256=file_facts(tmp_path / "text.pth").sha256), cpu)
