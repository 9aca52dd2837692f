"""MesoNet detectors (Afchar et al., arXiv 1809.00888): Meso4, MesoInception4 and the common PyTorch port of Meso4.

In the authors' Keras code every convolution has a bias and a batch norm of its own. The PyTorch port that most papers
use shares one batch norm between two convolutions and drops the biases: its running statistics average over two layers
and fit neither, so scores in eval mode differ from those in training. ``meso4_sharedbn`` is that port.
Parameters with one logit at 256 pixels: 27,977, 28,615 (the paper's numbers), and 27,881 for the port.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepfakemnist.detectors.base import HALF, DetectorConfig, DetectorSpec

#: The four pooling layers downsample by 2 · 2 · 2 · 4.
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
    learning_rate=1e-3,
    dropout=0.5,
)
MESOINCEPTION4 = replace(MESO4, name="mesoinception4")
MESO4_SHAREDBN = replace(
    MESO4,
    name="meso4_sharedbn",
    mean=HALF,
    std=HALF,
    source="arXiv 1809.00888; layers of github.com/HongguLiu/MesoNet-Pytorch, reimplemented",
    licence="Apache-2.0 (MesoNet); no weights are used",
    recipe="the port's: Adam 1e-3, halved every 5 epochs, batches of 64, 50 epochs, cross entropy",
)


class SamePool(nn.Module):
    """Max pooling that keeps partial windows at the right and bottom edge, like Keras's padding 'same'.

    PyTorch drops them, which shrinks the flattened vector at sizes that are not a multiple of the stride.
    """

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, maps: Tensor) -> Tensor:
        """Pool maps (B, C, H, W) to (B, C, ceil(H / stride), ceil(W / stride))."""
        pad_y, pad_x = (-maps.shape[-2] % self.stride, -maps.shape[-1] % self.stride)
        if pad_y or pad_x:
            # Keras puts the smaller half first; padding with -inf never wins the maximum.
            sides = (pad_x // 2, pad_x - pad_x // 2, pad_y // 2, pad_y - pad_y // 2)
            maps = functional.pad(maps, sides, value=-math.inf)
        return functional.max_pool2d(maps, self.stride)


def _norm(channels: int) -> nn.BatchNorm2d:
    # Keras's momentum is the weight of the old statistics (0.99), PyTorch's that of the new ones (0.01).
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def _block(inputs: int, outputs: int, kernel: int, pool: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, padding="same"), nn.ReLU(), _norm(outputs), SamePool(pool))


def _head(image_size: int, dropout: float) -> nn.Sequential:
    side = math.ceil(image_size / _TOTAL_STRIDE)
    return nn.Sequential(
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(_LAST_CHANNELS * side * side, 16),
        nn.LeakyReLU(0.1),
        nn.Dropout(dropout),
        nn.Linear(16, 1),
    )


def _init_like_keras(network: nn.Module) -> None:
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.xavier_uniform_(layer.weight)  # Keras's default, Glorot uniform
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)


class Meso4(nn.Module):
    """Four convolutions and two dense layers; input RGB in 0..1, not standardised."""

    def __init__(self, image_size: int = MESO4.input_size, dropout: float = MESO4.dropout) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _block(3, 8, 3, pool=2), _block(8, 8, 5, pool=2), _block(8, 16, 5, pool=2), _block(16, 16, 5, pool=4)
        )
        self.head = _head(image_size, dropout)
        _init_like_keras(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, 1) of images (B, 3, S, S) in 0..1."""
        logits: Tensor = self.head(self.features(images))
        return logits


class Inception(nn.Module):
    """Four parallel branches: 1x1, and 1x1 then 3x3 with dilation 1, 2 and 3; ReLU after each convolution."""

    def __init__(self, inputs: int, outputs: tuple[int, int, int, int]) -> None:
        super().__init__()
        first, *others = outputs
        branches: list[nn.Module] = [nn.Sequential(nn.Conv2d(inputs, first, 1), nn.ReLU())]
        for dilation, channels in enumerate(others, start=1):
            dilated = nn.Conv2d(channels, channels, 3, padding="same", dilation=dilation)
            branches.append(nn.Sequential(nn.Conv2d(inputs, channels, 1), nn.ReLU(), dilated, nn.ReLU()))
        self.branches = nn.ModuleList(branches)
        self.norm = _norm(sum(outputs))
        self.pool = SamePool(2)

    def forward(self, maps: Tensor) -> Tensor:
        """Return (B, sum of outputs, H / 2, W / 2) of maps (B, inputs, H, W)."""
        pooled: Tensor = self.pool(self.norm(torch.cat([branch(maps) for branch in self.branches], dim=1)))
        return pooled


class MesoInception4(nn.Module):
    """Two inception blocks, two convolutions and two dense layers; input RGB in 0..1."""

    def __init__(self, image_size: int = MESO4.input_size, dropout: float = MESO4.dropout) -> None:
        super().__init__()
        self.features = nn.Sequential(
            Inception(3, (1, 4, 4, 2)),
            Inception(11, (2, 4, 4, 2)),
            _block(12, 16, 5, pool=2),
            _block(16, 16, 5, pool=4),
        )
        self.head = _head(image_size, dropout)
        _init_like_keras(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, 1) of images (B, 3, S, S) in 0..1."""
        logits: Tensor = self.head(self.features(images))
        return logits


class Meso4SharedNorm(nn.Module):
    """The port: convolutions without bias, one norm for the first two and one for the last two; input RGB in -1..1."""

    def __init__(self, image_size: int = MESO4.input_size, dropout: float = MESO4.dropout) -> None:
        super().__init__()
        sizes = ((3, 8, 3), (8, 8, 5), (8, 16, 5), (16, 16, 5))
        self.convolutions = nn.ModuleList(
            nn.Conv2d(inputs, outputs, kernel, padding="same", bias=False) for inputs, outputs, kernel in sizes
        )
        self.norms = nn.ModuleList([nn.BatchNorm2d(8), nn.BatchNorm2d(16)])  # with PyTorch's eps and momentum
        self.pools = nn.ModuleList([SamePool(2), SamePool(2), SamePool(2), SamePool(4)])
        self.head = _head(image_size, dropout)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, 1) of images (B, 3, S, S) in -1..1."""
        maps = images
        for number, (convolution, pool) in enumerate(zip(self.convolutions, self.pools, strict=True)):
            maps = pool(self.norms[number // 2](functional.relu(convolution(maps))))
        logits: Tensor = self.head(maps)
        return logits


DETECTORS = (
    DetectorSpec(MESO4, Meso4),
    DetectorSpec(MESOINCEPTION4, MesoInception4),
    DetectorSpec(MESO4_SHAREDBN, Meso4SharedNorm),
)
