"""Detector interface: a default config and a module from uint8 pixels to one logit, normalisation included."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

#: Mean and standard deviation per RGB channel, of pixels in 0..1.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)

Trainable = Literal["all", "head", "norms"]


@dataclass(frozen=True)
class DetectorConfig:
    """Default config of a detector, next to its code.

    Args:
        name: name in a run's config.
        input_size: side of the square input it was published with, pixels.
        mean: per-channel mean of RGB in 0..1, subtracted.
        std: per-channel standard deviation of RGB in 0..1, divided by.
        weights: allowed initial weights: none, imagenet, path.
        source: paper and code it follows.
        licence: licence of that code and of the weights.
        recipe: published training recipe; a note that no code reads.
        learning_rate: default learning rate, for Adam and AdamW with batches of 32.
        dropout: default dropout before the last layer.
        head: prefixes of the classifier's parameter names in a file of weights; replaced by a layer with one logit.
        trainable: parameters that are trained: all, the head alone (a linear probe), or norms and head.
        clip_frames: frames per sample, neighbours among the stored frames; 1 for a detector of single frames.
        fixed_size: whether the input size is fixed.
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
    trainable: Trainable = "all"
    clip_frames: int = 1
    fixed_size: bool = False


@dataclass(frozen=True)
class DetectorSpec:
    """Registry entry: default config, network factory and weight loaders.

    Args:
        config: default config.
        network: called with input size and dropout, returns a randomly initialised module from float (B, 3, S, S),
            or (B, T, 3, S, S) where ``clip_frames`` is above 1, to (B, 1).
        imagenet: called without arguments, returns the library's ImageNet weights; None where there are none.
        load: called with network and state dict, loads all weights but the head's. Raises: ValueError or RuntimeError
            when they do not fit.
    """

    config: DetectorConfig
    network: Callable[[int, float], nn.Module]
    imagenet: Callable[[], dict[str, Tensor]] | None = None
    load: Callable[[nn.Module, dict[str, Tensor]], None] | None = None


class Detector(nn.Module):
    """A network with built-in normalisation, so that no caller can feed it the wrong range.

    Input: pixels as stored, uint8 RGB (B, 3, S, S) in 0..255, or (B, T, 3, S, S) for a clip detector. Output: logits
    (B,), higher is more fake; sigmoid(logit) is P(fake).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, config: DetectorConfig, image_size: int) -> None:
        super().__init__()
        # Channels-last is the fastest layout of bfloat16 convolutions on GPUs; the values are the same.
        single_frame = config.clip_frames == 1
        self.network = network.to(memory_format=torch.channels_last) if single_frame else network  # type: ignore[call-overload]
        self.config = config
        self.image_size = image_size
        # Not persistent: they belong to the config, which a checkpoint must not contradict.
        self.register_buffer("mean", torch.tensor(config.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(3, 1, 1), persistent=False)
        _freeze(network, config.trainable)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample: (3, S, S), or (T, 3, S, S) for a clip detector."""
        frame = (3, self.image_size, self.image_size)
        return frame if self.config.clip_frames == 1 else (self.config.clip_frames, *frame)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B,) of uint8 pixels (B, *sample_shape). Raises: ValueError for another dtype or shape."""
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
        """Set training or eval mode; a frozen backbone stays in eval mode, with fixed norms and no dropout."""
        super().train(mode)
        if mode and self.config.trainable != "all":
            self.network.eval()
            self.network.get_submodule("head").train()
        return self


def _freeze(network: nn.Module, trainable: Trainable) -> None:
    """Disable gradients of everything that is not trained; a frozen network's last part is called ``head``."""
    if trainable == "all":
        return
    network.requires_grad_(False)
    network.get_submodule("head").requires_grad_(True)
    if trainable == "norms":
        for layer in network.modules():
            if isinstance(layer, nn.LayerNorm):
                layer.requires_grad_(True)
