"""Grad-CAM (Selvaraju et al., arXiv 1610.02391): which parts of a picture speak for fake."""

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

#: Share of the heat in the picture that is shown.
_OPACITY = 0.45


def heat_maps(detector: Detector, pixels: Tensor) -> NDArray[np.float32]:
    """Return how much each place raises the logit, by the last convolution that still has places.

    Args:
        detector: of still pictures, with convolutions; in eval mode.
        pixels: uint8 RGB (B, 3, S, S).

    Returns: (B, S, S), each from 0 to 1; all 0 where nothing speaks for fake.

    Raises: ConfigError for a detector of clips, or one without convolutions over the picture.
    """
    if detector.config.clip_frames > 1:
        raise ConfigError(f"{detector.config.name} looks at clips; heat maps are for detectors of still pictures")
    seen: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
        if output.ndim == 4 and min(output.shape[-2:]) > 1:
            seen.append(output)

    hooks = [layer.register_forward_hook(keep) for layer in detector.modules() if isinstance(layer, nn.Conv2d)]
    try:
        with torch.enable_grad():
            logits = detector(pixels)
    finally:
        for hook in hooks:
            hook.remove()
    # The first layer of a transformer is a convolution too, but says nothing of what was made of it.
    if len(seen) < 2 or not seen[-1].requires_grad:
        raise ConfigError(f"{detector.config.name} has no convolutions over the picture that a heat map could show")
    (gradient,) = torch.autograd.grad(logits.sum(), seen[-1])
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    heat = functional.relu((weights * seen[-1].detach()).sum(dim=1, keepdim=True))
    heat = functional.interpolate(heat, size=pixels.shape[-2:], mode="bilinear", align_corners=False)
    peak = heat.amax(dim=(2, 3), keepdim=True)
    maps: NDArray[np.float32] = torch.where(peak > 0, heat / peak, heat).squeeze(1).float().cpu().numpy()
    return maps


def over_picture(picture: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return a picture (H, W, 3) uint8 RGB with heat (H, W) 0..1 laid over it: blue where cold, red where hot."""
    colours = cv2.cvtColor(cv2.applyColorMap((heat * 255).astype(np.uint8), cv2.COLORMAP_JET), cv2.COLOR_BGR2RGB)
    return np.asarray(cv2.addWeighted(picture, 1 - _OPACITY, colours, _OPACITY, 0), np.uint8)
