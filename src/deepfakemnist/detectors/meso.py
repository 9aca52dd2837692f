"""Meso4 of MesoNet (Afchar et al., arXiv 1809.00888), layer by layer as in the authors' Keras code.

The PyTorch port most papers use shares one batch norm between two convolutions and drops the convolutions' biases;
its running statistics then fit neither layer. Here every convolution has its bias and its own norm: 27,977
parameters with one logit at 256 pixels.
"""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional

from deepfakemnist.detectors.base import DetectorConfig, DetectorSpec

#: The four poolings shrink the picture by 2 · 2 · 2 · 4.
_TOTAL_STRIDE = 32
_LAST_CHANNELS = 16

MESO4 = DetectorConfig(
    name="meso4",
    input_size=256,
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    weights=("none",),
    source="arXiv 1809.00888; github.com/DariusAf/MesoNet classifiers.py",
    licence="Apache-2.0 (MesoNet); no weights are used",
    recipe="Adam 1e-3, divided by 10 every 1000 iterations, batches of 75, squared error on the sigmoid",
)


class SamePool(nn.Module):
    """Max pooling that keeps a partial window at the right and bottom edge, as Keras's padding 'same' does.

    PyTorch would drop it, and at sizes that are no multiple of the stride the flattened vector would shrink.
    """

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, maps: Tensor) -> Tensor:
        """Pool maps (B, C, H, W) to (B, C, ceil(H / stride), ceil(W / stride))."""
        pad_y, pad_x = (-maps.shape[-2] % self.stride, -maps.shape[-1] % self.stride)
        if pad_y or pad_x:
            # Keras puts the smaller half before, and padding never wins a maximum.
            sides = (pad_x // 2, pad_x - pad_x // 2, pad_y // 2, pad_y - pad_y // 2)
            maps = functional.pad(maps, sides, value=-math.inf)
        return functional.max_pool2d(maps, self.stride)


def _block(inputs: int, outputs: int, kernel: int, pool: int) -> nn.Sequential:
    # Keras counts momentum as what is kept (0.99), PyTorch as what is new (0.01).
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding="same"),
        nn.ReLU(),
        nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01),
        SamePool(pool),
    )


class Meso4(nn.Module):
    """Four convolutions and two dense layers; RGB in 0..1 without mean or standard deviation."""

    def __init__(self, image_size: int = MESO4.input_size) -> None:
        super().__init__()
        side = math.ceil(image_size / _TOTAL_STRIDE)
        self.features = nn.Sequential(
            _block(3, 8, 3, pool=2), _block(8, 8, 5, pool=2), _block(8, 16, 5, pool=2), _block(16, 16, 5, pool=4)
        )
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Linear(_LAST_CHANNELS * side * side, 16),
            nn.LeakyReLU(0.1),
            nn.Dropout(0.5),
            nn.Linear(16, 1),
        )
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                nn.init.xavier_uniform_(layer.weight)  # Keras's default, Glorot uniform
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, 1) of images (B, 3, S, S) in 0..1."""
        logits: Tensor = self.head(self.features(images))
        return logits


def _meso4(weights: str, image_size: int) -> nn.Module:
    return Meso4(image_size)


DETECTORS = (DetectorSpec(MESO4, _meso4),)
