"""Frequency-domain detector: ResNet-18 on block-wise DCT coefficients.

Generators leave traces in high frequencies (arXiv 2003.08685), which a network on pixels has to discover first.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision import models

from deepfakemnist.detectors.base import DetectorConfig, DetectorSpec

#: Side of a block, as in JPEG and in H.264's larger transform.
_BLOCK = 8
#: Offset inside the logarithm: half a grey level.
_LOG_OFFSET = 0.5 / 255

DCT_RESNET18 = DetectorConfig(
    name="dct_resnet18",
    input_size=256,
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    weights=("none",),
    source="after arXiv 2003.08685 (DCT as input); ResNet-18 of torchvision on the coefficients",
    licence="this project's; BSD-3-Clause (torchvision)",
    recipe="",
    learning_rate=1e-3,
)


class DctResNet18(nn.Module):
    """ResNet-18 on the log-magnitude DCT coefficients of every 8x8 block: 192 maps at an eighth of the resolution."""

    basis: Tensor

    def __init__(self, image_size: int, dropout: float) -> None:
        super().__init__()
        self.register_buffer("basis", dct_basis(_BLOCK).view(_BLOCK**2, 1, _BLOCK, _BLOCK), persistent=False)
        self.norm = nn.BatchNorm2d(3 * _BLOCK**2)
        network = models.resnet18(weights=None)
        # The maps are small already, so the stem keeps their resolution: stride 1, no max pooling.
        network.conv1 = nn.Conv2d(3 * _BLOCK**2, 64, 3, padding=1, bias=False)
        network.maxpool = nn.Identity()
        network.fc = nn.Sequential(nn.Dropout(dropout), nn.Linear(512, 1))
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, 1) of images (B, 3, S, S) in 0..1."""
        batch, channels, height, width = images.shape
        channel_maps = images.reshape(batch * channels, 1, height, width)
        spectrum = functional.conv2d(channel_maps, self.basis.to(images.dtype), stride=_BLOCK)
        spectrum = torch.log(spectrum.abs() + _LOG_OFFSET).reshape(batch, -1, *spectrum.shape[-2:])
        logits: Tensor = self.network(self.norm(spectrum))
        return logits


def dct_basis(size: int) -> Tensor:
    """Return the orthonormal 2D DCT-II basis as (size², size, size): one basis image per coefficient."""
    position = torch.arange(size, dtype=torch.float64)
    waves = torch.cos(math.pi * (2 * position + 1) * position[:, None] / (2 * size)) * math.sqrt(2 / size)
    waves[0] /= math.sqrt(2)
    return torch.einsum("ux,vy->uvxy", waves, waves).reshape(size**2, size, size).float()


DETECTORS = (DetectorSpec(DCT_RESNET18, DctResNet18),)
