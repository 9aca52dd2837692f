"""Reconstruction losses: the paper's VGG19 perceptual pyramid, or pixels and gradients without weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepfakemnist.animate.fomm.blocks import downsample
from deepfakemnist.config.base import WeightFile
from deepfakemnist.devices.tensor_files import UnreadableTensors, load_tensors
from deepfakemnist.errors import ConfigError
from deepfakemnist.tables.checksums import file_facts

#: Full, half, quarter and eighth resolution, as in the paper.
_SCALES = 4
#: Ends of the five slices of torchvision's VGG19 ``features``: relu1_1, relu2_1, relu3_1, relu4_1, relu5_1.
_SLICES = (2, 7, 12, 21, 30)
#: Image side for which the coarsest scale still allows four poolings.
SMALLEST_VGG_IMAGE = 2 ** (_SCALES - 1) * 2**4
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


class PixelPyramid(nn.Module):
    """Multi-scale mean L1 plus weighted mean L1 of horizontal and vertical gradients; needs no weights.

    Args:
        gradient: weight of the gradients.
    """

    description = "multi-scale L1 and image gradients (no VGG19 weights were given)"

    def __init__(self, gradient: float) -> None:
        super().__init__()
        self.gradient = gradient

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the loss of images (B, 3, H, W) in 0..1, summed over scales."""
        loss = prediction.new_zeros(())
        error = prediction - target
        for scale in range(_SCALES):
            if scale:
                error = F.avg_pool2d(error, 2)
            slopes = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
            loss = loss + error.abs().mean() + self.gradient * slopes
        return loss


class VggPyramid(nn.Module):
    """Perceptual loss of the paper: mean L1 of five VGG19 layers at each of four scales.

    Each scale is made from full resolution by the original's Gaussian, whose zero padding darkens the borders of both
    images alike.

    Args:
        weights: torchvision's ImageNet state_dict of VGG19; its classifier is not used.

    Raises: ConfigError for a missing file, a checksum mismatch or an unexpected state_dict.
    """

    description = "VGG19 pyramid of the paper"

    mean: Tensor
    std: Tensor

    def __init__(self, weights: WeightFile) -> None:
        super().__init__()
        features = _load_features(weights)
        starts = (0, *_SLICES[:-1])
        self.scales = nn.ModuleList(downsample(len(_IMAGENET_MEAN), 2.0**-scale) for scale in range(_SCALES))
        self.slices = nn.ModuleList(features[start:end] for start, end in zip(starts, _SLICES, strict=True))
        self.register_buffer("mean", torch.tensor(_IMAGENET_MEAN).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(_IMAGENET_STD).view(3, 1, 1))
        self.requires_grad_(False)

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the loss of images (B, 3, H, W) in 0..1, summed over scales and layers."""
        loss = prediction.new_zeros(())
        for scale in self.scales:
            predicted = self._layers(scale(prediction))
            with torch.no_grad():
                expected = self._layers(scale(target))
            for p, e in zip(predicted, expected, strict=True):
                loss = loss + (p.float() - e.float()).abs().mean()
        return loss

    def _layers(self, image: Tensor) -> list[Tensor]:
        out, layers = (image - self.mean) / self.std, []
        for part in self.slices:
            out = part(out)
            layers.append(out)
        return layers


def _load_features(weights: WeightFile) -> nn.Sequential:
    if not weights.path.is_file():
        raise ConfigError(f"animator.train.vgg19.path {weights.path} does not exist; null trains without VGG19")
    found = file_facts(weights.path).sha256
    if found != weights.sha256:
        raise ConfigError(
            f"animator.train.vgg19: {weights.path} has sha256 {found}, but the config expects {weights.sha256}"
        )
    # Imported here, because training without VGG19 needs no torchvision.
    from torchvision.models import vgg19

    try:
        state = load_tensors(weights.path)
    except UnreadableTensors as error:
        raise ConfigError(f"animator.train.vgg19: {weights.path}: {error}") from error
    with torch.device("meta"):
        features = vgg19(weights=None).features[: _SLICES[-1]]
    names = {f"features.{name}": name for name in features.state_dict()}
    if not isinstance(state, dict) or any(name not in state for name in names):
        raise ConfigError(
            f"animator.train.vgg19: {weights.path} is not a state_dict of torchvision's VGG19, whose tensors are named "
            "features.0.weight, features.0.bias, features.2.weight and so on"
        )
    features.load_state_dict({short: state[name] for name, short in names.items()}, assign=True)
    for layer in features:
        if isinstance(layer, nn.ReLU):
            layer.inplace = False  # later layers must not overwrite the activations that are compared
    return features.eval()
