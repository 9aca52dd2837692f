"""Grad-CAM heat maps (Selvaraju et al., arXiv 1610.02391) of the evidence for fake."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from deepfakemnist.detectors.base import Detector
from deepfakemnist.errors import ConfigError

#: Weight of the heat map in the overlay.
_OPACITY = 0.45


def heat_maps(detector: Detector, pixels: Tensor) -> NDArray[np.float32]:
    """Return how much each position raises the logit, from the last convolution with spatial extent.

    Args:
        detector: convolutional detector of single frames, in eval mode.
        pixels: uint8 RGB (B, 3, S, S).

    Returns: (B, S, S), each map from 0 to 1; all 0 where nothing raises the logit.

    Raises: ConfigError for a clip detector, or one without convolutional feature maps.
    """
    if detector.config.clip_frames > 1:
        raise ConfigError(f"{detector.config.name} scores clips; heat maps need a detector of single frames")
    feature_maps: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
        if output.ndim == 4 and min(output.shape[-2:]) > 1:
            feature_maps.append(output)

    hooks = [layer.register_forward_hook(keep) for layer in detector.modules() if isinstance(layer, nn.Conv2d)]
    try:
        with torch.enable_grad():
            logits = detector(pixels)
    finally:
        for hook in hooks:
            hook.remove()
    # A vision transformer has one convolution, its patch embedding, which is too early to explain the logit.
    if len(feature_maps) < 2 or not feature_maps[-1].requires_grad:
        raise ConfigError(f"{detector.config.name} has no convolutional feature maps, which heat maps need")
    (gradient,) = torch.autograd.grad(logits.sum(), feature_maps[-1])
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    heat = functional.relu((weights * feature_maps[-1].detach()).sum(dim=1, keepdim=True))
    heat = functional.interpolate(heat, size=pixels.shape[-2:], mode="bilinear", align_corners=False)
    peak = heat.amax(dim=(2, 3), keepdim=True)
    maps: NDArray[np.float32] = torch.where(peak > 0, heat / peak, heat).squeeze(1).float().cpu().numpy()
    return maps


def overlay_heat(image: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return an image (H, W, 3) uint8 RGB overlaid with a heat map (H, W) in 0..1: blue is low, red is high."""
    colours = cv2.cvtColor(cv2.applyColorMap((heat * 255).astype(np.uint8), cv2.COLORMAP_JET), cv2.COLOR_BGR2RGB)
    return np.asarray(cv2.addWeighted(image, 1 - _OPACITY, colours, _OPACITY, 0), np.uint8)
