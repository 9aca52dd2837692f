"""What every detector is: a default config and one module that takes pixels and gives one logit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class DetectorConfig:
    """Facts about a detector that stand beside its code.

    Args:
        name: what the config of a run calls it.
        input_size: side of the square input it was published for, pixels.
        mean: per-channel mean of RGB in 0..1 that is subtracted.
        std: per-channel standard deviation that is divided by.
        weights: what it can start from.
        source: paper and code it follows.
        licence: licence of code and weights it comes from.
        recipe: how it was trained where it was published; a note, nothing reads it.
    """

    name: str
    input_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    weights: tuple[str, ...]
    source: str
    licence: str
    recipe: str


@dataclass(frozen=True)
class DetectorSpec:
    """A registry entry: the facts, and how the network is built.

    Args:
        config: see there.
        network: called with weights and input size, returns a module from float (B, 3, S, S) to (B, 1).
    """

    config: DetectorConfig
    network: Callable[[str, int], nn.Module]


class Detector(nn.Module):
    """A network with its normalisation inside, so that no caller can feed it the wrong range.

    Pixels go in as they are stored, uint8 RGB (B, 3, S, S) in 0..255; logits (B,) come out, higher is more fake and
    sigmoid(logit) is P(fake).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, config: DetectorConfig, image_size: int) -> None:
        super().__init__()
        # Channels last is how convolutions are quickest on GPUs with bfloat16; the values are the same.
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.config = config
        self.image_size = image_size
        # Not persistent: they belong to the config, and a checkpoint must not be able to contradict it.
        self.register_buffer("mean", torch.tensor(config.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B,) of uint8 pixels (B, 3, S, S). Raises: ValueError for another type or shape."""
        side = self.image_size
        if pixels.dtype != torch.uint8 or pixels.ndim != 4 or tuple(pixels.shape[1:]) != (3, side, side):
            raise ValueError(
                f"{self.config.name} takes uint8 RGB of shape (B, 3, {side}, {side}), not {pixels.dtype} of shape "
                f"{tuple(pixels.shape)}"
            )
        normalised = (pixels.to(self.mean.dtype) / 255.0 - self.mean) / self.std
        logits: Tensor = self.network(normalised.contiguous(memory_format=torch.channels_last))
        return logits.squeeze(1)
