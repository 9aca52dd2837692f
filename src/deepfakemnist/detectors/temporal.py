"""Clip detectors: frame differences and R(2+1)D on several neighbouring stored frames."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision import models

from deepfakemnist.detectors.base import IMAGENET_MEAN, IMAGENET_STD, DetectorConfig, DetectorSpec
from deepfakemnist.detectors.weights import load_backbone

_DIFFERENCE_FRAMES, _R2PLUS1D_FRAMES = 4, 8

FRAMEDIFF = DetectorConfig(
    name="framediff_resnet18",
    input_size=224,
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    weights=("none",),
    source="this project: differences of neighbouring frames, ResNet-18 of torchvision",
    licence="this project's; BSD-3-Clause (torchvision)",
    recipe="",
    learning_rate=1e-3,
    clip_frames=_DIFFERENCE_FRAMES,
)
R2PLUS1D = DetectorConfig(
    name="r2plus1d_18",
    input_size=112,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    weights=("none", "path"),
    source="arXiv 1711.11248; torchvision.models.video",
    licence="BSD-3-Clause (torchvision); Kinetics-400 weights to be given by path",
    recipe="",
    learning_rate=3e-4,
    head=("fc.",),
    clip_frames=_R2PLUS1D_FRAMES,
)


class FrameDifferences(nn.Module):
    """ResNet-18 on differences of consecutive frames; static content is invisible to it."""

    def __init__(self, image_size: int, dropout: float) -> None:
        super().__init__()
        network = models.resnet18(weights=None)
        network.conv1 = nn.Conv2d(3 * (_DIFFERENCE_FRAMES - 1), 64, 7, stride=2, padding=3, bias=False)
        network.fc = nn.Sequential(nn.Dropout(dropout), nn.Linear(512, 1))
        self.network = network

    def forward(self, clips: Tensor) -> Tensor:
        """Return logits (B, 1) of clips (B, T, 3, S, S) in 0..1."""
        logits: Tensor = self.network((clips[:, 1:] - clips[:, :-1]).flatten(1, 2))
        return logits


def _r2plus1d(image_size: int, dropout: float) -> nn.Module:
    network = models.video.r2plus1d_18(weights=None)
    network.fc = nn.Sequential(nn.Dropout(dropout), nn.Linear(512, 1)) if dropout else nn.Linear(512, 1)
    return _ChannelsFirst(network)


class _ChannelsFirst(nn.Module):
    """Transposes (B, T, 3, S, S) to the (B, 3, T, S, S) of torchvision's video networks."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, clips: Tensor) -> Tensor:
        logits: Tensor = self.network(clips.transpose(1, 2))
        return logits


def _load_r2plus1d(network: nn.Module, state: dict[str, Tensor]) -> None:
    assert isinstance(network, _ChannelsFirst)
    load_backbone(network.network, state, R2PLUS1D.head)


DETECTORS = (DetectorSpec(FRAMEDIFF, FrameDifferences), DetectorSpec(R2PLUS1D, _r2plus1d, load=_load_r2plus1d))
