"""MiniFASNetV2 and MiniFASNetV1SE, the face anti-spoofing networks of Silent-Face-Anti-Spoofing.

They detect presentation attacks by print and replay. Layers and channel counts are those of the published weights
(github.com/minivision-ai/Silent-Face-Anti-Spoofing, resources/anti_spoof_models, Apache-2.0); the code is our own. The
networks were pruned, hence the odd widths.
Input (N, 3, 80, 80): a face crop, BGR, 0–255 as float32, not normalised. Output (N, 3) logits; index 1 is live.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

INPUT_SIZE = 80
CLASSES = 3
LIVE = 1
#: Weights saved from ``nn.DataParallel`` carry this prefix. ``se_module.`` inside a name must stay.
_PARALLEL_PREFIX = "module."


@dataclass(frozen=True)
class Widths:
    """Bottleneck widths per stage; the widths between blocks are the same for both networks."""

    stage3: tuple[int, ...]
    stage4: tuple[int, ...]
    stage5: tuple[int, ...]
    #: Squeeze-and-excitation in the last block of every stage.
    excite: bool


#: 434,560 parameters; input is the face box expanded 2.7 times.
V2 = Widths((13, 13, 13, 13), (231, 52, 26, 77, 26, 26), (26, 26), excite=False)
#: 433,586 parameters; input is the face box expanded 4.0 times.
V1SE = Widths((13, 26, 13, 52), (154, 52, 26, 52, 26, 26), (26, 26), excite=True)


class ConvBlock(nn.Module):
    """Convolution, batch norm and, unless ``linear``, PReLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, *, padding: int = 0, groups: int = 1,
        linear: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        if not linear:
            self.prelu = nn.PReLU(outputs)
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) → (N, outputs, H', W')."""
        x = self.bn(self.conv(x))
        return x if self.linear else self.prelu(x)


class SqueezeExcite(nn.Module):
    """Squeeze-and-excitation: channel weights from globally pooled features."""

    def __init__(self, channels: int, reduction: int = 4) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // reduction, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels // reduction)
        self.fc2 = nn.Conv2d(channels // reduction, channels, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → the same shape, channels reweighted."""
        weight = x.mean(dim=(2, 3), keepdim=True)
        weight = torch.relu(self.bn1(self.fc1(weight)))
        return x * torch.sigmoid(self.bn2(self.fc2(weight)))


class Bottleneck(nn.Module):
    """Inverted bottleneck: 1×1 expansion, 3×3 depthwise, 1×1 projection; with a skip connection if ``residual``."""

    def __init__(
        self, inputs: int, outputs: int, width: int, stride: int = 1, *, residual: bool = False, excite: bool = False
    ) -> None:
        super().__init__()
        self.conv = ConvBlock(inputs, width, 1)
        self.conv_dw = ConvBlock(width, width, 3, stride, padding=1, groups=width)
        self.project = ConvBlock(width, outputs, 1, linear=True)
        self.residual = residual
        if excite:
            self.se_module = SqueezeExcite(outputs)
        self.excite = excite

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) → (N, outputs, H / stride, W / stride)."""
        y = self.project(self.conv_dw(self.conv(x)))
        if self.excite:
            y = self.se_module(y)
        return x + y if self.residual else y


class Stage(nn.Module):
    """Residual bottlenecks at one resolution."""

    def __init__(self, channels: int, widths: Sequence[int], *, excite: bool) -> None:
        super().__init__()
        last = len(widths) - 1
        self.model = nn.Sequential(
            *(
                Bottleneck(channels, channels, width, residual=True, excite=excite and index == last)
                for index, width in enumerate(widths)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → the same shape."""
        return self.model(x)


class MiniFASNet(nn.Module):
    """One of the two networks; attribute names are the keys of the published weights."""

    def __init__(self, widths: Widths) -> None:
        super().__init__()
        self.conv1 = ConvBlock(3, 32, 3, 2, padding=1)
        self.conv2_dw = ConvBlock(32, 32, 3, padding=1, groups=32)
        self.conv_23 = Bottleneck(32, 64, 103, 2)
        self.conv_3 = Stage(64, widths.stage3, excite=widths.excite)
        self.conv_34 = Bottleneck(64, 128, 231, 2)
        self.conv_4 = Stage(128, widths.stage4, excite=widths.excite)
        self.conv_45 = Bottleneck(128, 128, 308, 2)
        self.conv_5 = Stage(128, widths.stage5, excite=widths.excite)
        self.conv_6_sep = ConvBlock(128, 512, 1)
        self.conv_6_dw = ConvBlock(512, 512, INPUT_SIZE // 16, groups=512, linear=True)
        self.linear = nn.Linear(512, 128, bias=False)
        self.bn = nn.BatchNorm1d(128)
        self.prob = nn.Linear(128, CLASSES, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, 80, 80) BGR 0–255 → (N, 3) logits."""
        x = self.conv_23(self.conv2_dw(self.conv1(x)))
        x = self.conv_34(self.conv_3(x))
        x = self.conv_45(self.conv_4(x))
        x = self.conv_6_dw(self.conv_6_sep(self.conv_5(x)))
        return self.prob(self.bn(self.linear(x.flatten(1))))


def load_state(net: MiniFASNet, state: Mapping[str, Tensor]) -> MiniFASNet:
    """Load published weights into ``net`` and switch it to evaluation mode.

    Raises:
        RuntimeError: names or shapes do not match, i.e. the weights belong to another network.
    """
    net.load_state_dict({name.removeprefix(_PARALLEL_PREFIX): tensor for name, tensor in state.items()})
    return net.eval()
