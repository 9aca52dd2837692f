"""Detectors from torchvision models: ResNet-50, -101 and -152, EfficientNet-B4, ConvNeXt-Tiny.

The ResNets (He et al., arXiv 1512.03385) are the strongest three of the five detectors in the DeepFakeMnist+ paper
(arXiv 2108.07949); EfficientNet-B4 (arXiv 1905.11946) and ConvNeXt-T (arXiv 2201.03545) are common baselines since.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn
from torchvision import models

from deepfakemnist.detectors.base import IMAGENET_MEAN, IMAGENET_STD, DetectorConfig, DetectorSpec
from deepfakemnist.detectors.weights import fetch_weights, load_backbone

#: The first generation of torchvision's weights: the paper predates the second (IMAGENET1K_V2).
_IMAGENET = {
    "resnet50": models.ResNet50_Weights.IMAGENET1K_V1,
    "resnet101": models.ResNet101_Weights.IMAGENET1K_V1,
    "resnet152": models.ResNet152_Weights.IMAGENET1K_V1,
    "efficientnet_b4": models.EfficientNet_B4_Weights.IMAGENET1K_V1,
    "convnext_tiny": models.ConvNeXt_Tiny_Weights.IMAGENET1K_V1,
}


def _config(
    name: str, input_size: int, source: str, learning_rate: float, head: str, recipe: str, dropout: float = 0.0
) -> DetectorConfig:
    return DetectorConfig(
        name=name,
        input_size=input_size,
        mean=IMAGENET_MEAN,  # the weights were trained with ImageNet's
        std=IMAGENET_STD,
        weights=("none", "imagenet", "path"),
        source=f"{source}; torchvision.models",
        licence="BSD-3-Clause (torchvision's code and weights); ImageNet's terms for its images",
        recipe=recipe,
        learning_rate=learning_rate,
        dropout=dropout,
        head=(head,),
    )


def _resnet(name: str) -> DetectorConfig:
    return _config(name, 224, "arXiv 1512.03385", 2e-4, "fc.", "not published for DeepfakeMnist+")


_CONFIGS = (
    *(_resnet(name) for name in ("resnet50", "resnet101", "resnet152")),
    _config(
        "efficientnet_b4", 380, "arXiv 1905.11946", 2e-4, "classifier.",
        "DeepfakeBench: Adam 2e-4, batches of 32, 256 px; self-blended images: 380 px, SAM", dropout=0.4,
    ),
    _config(
        "convnext_tiny", 224, "arXiv 2201.03545", 1e-4, "classifier.2.",
        "AdamW 5e-5 to 1e-4 with cosine when fine-tuned on ImageNet",
    ),
)  # fmt: skip


def _network(name: str, image_size: int, dropout: float) -> nn.Module:
    network = models.get_model(name, weights=None)
    if name.startswith("resnet"):
        network.fc = _head(2048, dropout)
    elif name == "efficientnet_b4":
        network.classifier = _head(1792, dropout)
    else:
        network.classifier[2] = _head(768, dropout)
    assert isinstance(network, nn.Module)
    return network


def _head(features: int, dropout: float) -> nn.Module:
    linear = nn.Linear(features, 1)
    return nn.Sequential(nn.Dropout(dropout), linear) if dropout else linear


def _imagenet(name: str) -> dict[str, Tensor]:
    return fetch_weights(_IMAGENET[name].url)


DETECTORS = tuple(
    DetectorSpec(
        config,
        partial(_network, config.name),
        partial(_imagenet, config.name),
        partial(load_backbone, head=config.head),
    )
    for config in _CONFIGS
)
