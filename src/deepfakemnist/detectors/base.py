"""What every detector is: a default config and one module that takes pixels and gives one logit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

#: Mean and standard deviation per RGB channel, of pixels in 0..1.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)

Trained = Literal["all", "head", "norms"]


@dataclass(frozen=True)
class DetectorConfig:
    """Facts about a detector that stand beside its code.

    Args:
        name: what the config of a run calls it.
        input_size: side of the square input it was published for, pixels.
        mean: per-channel mean of RGB in 0..1 that is subtracted.
        std: per-channel standard deviation that is divided by.
        weights: what it can start from: none, imagenet, path.
        source: paper and code it follows.
        licence: licence of code and weights it comes from.
        recipe: how it was trained where it was published; a note, nothing reads it.
        learning_rate: where a run's config gives none; for Adam and AdamW with batches of 32.
        dropout: before the last layer, where a run's config gives none.
        head: names that the classifier's values begin with in a file of weights; they are replaced by one logit.
        trained: what training changes: everything, the head alone (a linear probe), or norms and head.
        clip_frames: frames of a clip, neighbours among those stored, that one sample has; 1 for a still picture.
        fixed_size: the input can have no other size.
    """

    name: str
    input_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    weights: tuple[str, ...]
    source: str
    licence: str
    recipe: str
    learning_rate: float
    dropout: float = 0.0
    head: tuple[str, ...] = ()
    trained: Trained = "all"
    clip_frames: int = 1
    fixed_size: bool = False


@dataclass(frozen=True)
class DetectorSpec:
    """A registry entry: the facts, and how the network is built.

    Args:
        config: see there.
        network: called with input size and dropout, returns a module with random weights, from float (B, 3, S, S),
            or (B, T, 3, S, S) where ``clip_frames`` is above 1, to (B, 1).
        imagenet: called without arguments, returns the library's weights; None where there are none.
        load: called with network and state dict, puts the weights into the network, all but the head. Raises:
            ValueError or RuntimeError where they do not fit.
    """

    config: DetectorConfig
    network: Callable[[int, float], nn.Module]
    imagenet: Callable[[], dict[str, Tensor]] | None = None
    load: Callable[[nn.Module, dict[str, Tensor]], None] | None = None


class Detector(nn.Module):
    """A network with its normalisation inside, so that no caller can feed it the wrong range.

    Pixels go in as they are stored, uint8 RGB (B, 3, S, S) in 0..255, or (B, T, 3, S, S) for a detector of clips;
    logits (B,) come out, higher is more fake and sigmoid(logit) is P(fake).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, config: DetectorConfig, image_size: int) -> None:
        super().__init__()
        # Channels last is how convolutions are quickest on GPUs with bfloat16; the values are the same.
        still = config.clip_frames == 1
        self.network = network.to(memory_format=torch.channels_last) if still else network  # type: ignore[call-overload]
        self.config = config
        self.image_size = image_size
        # Not persistent: they belong to the config, and a checkpoint must not be able to contradict it.
        self.register_buffer("mean", torch.tensor(config.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(3, 1, 1), persistent=False)
        _freeze(network, config.trained)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample: (3, S, S), or (T, 3, S, S) for a detector of clips."""
        picture = (3, self.image_size, self.image_size)
        return picture if self.config.clip_frames == 1 else (self.config.clip_frames, *picture)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B,) of uint8 pixels (B, ...), see ``sample_shape``. Raises: ValueError for others."""
        if pixels.dtype != torch.uint8 or tuple(pixels.shape[1:]) != self.sample_shape:
            shape = ", ".join(map(str, self.sample_shape))
            raise ValueError(
                f"{self.config.name} takes uint8 RGB of shape (B, {shape}), not {pixels.dtype} of shape "
                f"{tuple(pixels.shape)}"
            )
        normalised = (pixels.to(self.mean.dtype) / 255.0 - self.mean) / self.std
        if normalised.ndim == 4:
            normalised = normalised.contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.network(normalised)
        return logits.squeeze(1)

    def train(self, mode: bool = True) -> Detector:
        """Switch between training and scoring; a frozen body always scores, its norms and dropout do not move."""
        super().train(mode)
        if mode and self.config.trained != "all":
            self.network.eval()
            self.network.get_submodule("head").train()
        return self


def _freeze(network: nn.Module, trained: Trained) -> None:
    """Leave gradients to what is trained; networks with a frozen body call their last part ``head``."""
    if trained == "all":
        return
    network.requires_grad_(False)
    network.get_submodule("head").requires_grad_(True)
    if trained == "norms":
        for layer in network.modules():
            if isinstance(layer, nn.LayerNorm):
                layer.requires_grad_(True)
