"""ResNet-18 with a free base width: the key point detector of the Thin-Plate-Spline Motion Model."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

#: Blocks of each stage, and its width in base widths.
_BLOCKS, _STAGES = 2, (1, 2, 4, 8)


class ResNet18(nn.Module):
    """Names of parameters are those of torchvision's.

    Args:
        outputs: of the last layer.
        width: channels of the first stage; 64 in the official network.
    """

    def __init__(self, outputs: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        inputs = width
        for number, factor in enumerate(_STAGES, start=1):
            setattr(self, f"layer{number}", _stage(inputs, factor * width, stride=1 if number == 1 else 2))
            inputs = factor * width
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) → (B, outputs)."""
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        for number in range(1, len(_STAGES) + 1):
            x = self.get_submodule(f"layer{number}")(x)
        out: Tensor = self.fc(self.avgpool(x).flatten(1))
        return out


def _stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    shortcut = None
    if stride > 1:
        shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
    first = BasicBlock(inputs, outputs, stride, shortcut)
    return nn.Sequential(first, *(BasicBlock(outputs, outputs) for _ in range(_BLOCKS - 1)))
