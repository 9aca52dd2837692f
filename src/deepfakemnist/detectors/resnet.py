"""ResNet-50, -101 and -152 (He et al., arXiv 1512.03385) as torchvision builds them, with one logit.

These are the strongest three of the five detectors of the DeepFakeMnist+ paper (arXiv 2108.07949).
"""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision import models

from deepfakemnist.detectors.base import DetectorConfig, DetectorSpec
from deepfakemnist.errors import ConfigError

#: The first generation of torchvision's weights: the paper is older than the second (IMAGENET1K_V2).
_IMAGENET = {
    "resnet50": models.ResNet50_Weights.IMAGENET1K_V1,
    "resnet101": models.ResNet101_Weights.IMAGENET1K_V1,
    "resnet152": models.ResNet152_Weights.IMAGENET1K_V1,
}


def _config(name: str) -> DetectorConfig:
    return DetectorConfig(
        name=name,
        input_size=224,
        mean=(0.485, 0.456, 0.406),  # of ImageNet, which the weights were trained with
        std=(0.229, 0.224, 0.225),
        weights=("none", "imagenet"),
        source="arXiv 1512.03385; torchvision.models",
        licence="BSD-3-Clause (torchvision's code and weights); ImageNet's own terms for its pictures",
        recipe="not published for DeepFakeMnist+; here AdamW with a cosine schedule, see training.loop",
    )


def _network(name: str, weights: str, image_size: int) -> nn.Module:
    network: nn.Module = models.get_model(name, weights=None)
    if weights == "imagenet":
        network.load_state_dict(_imagenet_weights(name))
    network.fc = nn.Linear(2048, 1)
    return network


def _imagenet_weights(name: str) -> dict[str, Any]:
    """Return torchvision's weights, from its cache or downloaded. Raises: ConfigError when neither gives them."""
    entry = _IMAGENET[name]
    file = Path(torch.hub.get_dir()) / "checkpoints" / entry.url.rsplit("/", 1)[-1]
    wanted = file.stem.rsplit("-", 1)[-1]  # file names end in the first digits of their sha256
    # torchvision looks at the hash of what it downloads, but not of what it finds.
    if file.is_file() and not hashlib.sha256(file.read_bytes()).hexdigest().startswith(wanted):
        raise ConfigError(f"{file} is not torchvision's {entry}: its sha256 does not begin with {wanted}. Delete it.")
    try:
        state: dict[str, Any] = entry.get_state_dict(
            progress=False, check_hash=True, map_location="cpu", weights_only=True
        )
    except (OSError, RuntimeError) as error:
        raise ConfigError(
            f"weights: imagenet needs {entry.url}, which could not be downloaded ({error}). Fetch it on a machine with "
            f"a network and put it at {file}, or set weights: none to train from scratch."
        ) from error
    return state


DETECTORS = tuple(DetectorSpec(_config(name), partial(_network, name)) for name in _IMAGENET)
