"""Heat maps of the evidence for fake, by the method that suits a network: Grad-CAM, attention relevance or occlusion.

============ ==========================================================================================================
convolutions Grad-CAM (Selvaraju et al., arXiv 1610.02391) on the last feature maps; of a network over time, their mean
             over the clip
transformers relevance of patches to the classifier's token (Chefer et al., arXiv 2103.15679, equations 5 and 6): the
             positive part of attention times its gradient, averaged over heads and accumulated over blocks. Grad-CAM
             finds nothing there: the classifier reads one token, so the last feature maps have no gradient
others       occlusion (Zeiler and Fergus, arXiv 1311.2901): how far the logit falls when a patch is hidden; needs a
             forward pass per patch, and knows nothing of the network
============ ==========================================================================================================

Own code: grad-cam 1.5 has no wheels and no relevance by attention gradients; torchcam 0.5 takes transformers made of
PyTorch's MultiheadAttention only, which timm's are not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from math import isqrt
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from deepfakemnist.detectors.base import Detector

#: Weight of the heat map in the overlay.
_OPACITY = 0.45
#: Patches per side that occlusion hides, one after the other.
_OCCLUDED = 12
_BATCH_SIZE = 16


def heat_maps(detector: Detector, pixels: Tensor) -> NDArray[np.float32]:
    """Return how much each position raises the logit.

    Args:
        detector: any detector, in eval mode.
        pixels: uint8 RGB (B, *detector.sample_shape).

    Returns: (B, S, S), each map from 0 to 1; all 0 where nothing raises the logit. A clip has one map for all frames.
    """
    if attention := _attention_layers(detector):
        heat = _attention_relevance(detector, pixels, attention)
    else:
        found = _grad_cam(detector, pixels)
        heat = _occlusion(detector, pixels) if found is None else found
    size = (detector.image_size, detector.image_size)
    heat = functional.interpolate(heat[:, None].float(), size=size, mode="bilinear", align_corners=False)
    peak = heat.amax(dim=(2, 3), keepdim=True)
    maps: NDArray[np.float32] = torch.where(peak > 0, heat / peak, heat).squeeze(1).cpu().numpy()
    return maps


def overlay_heat(image: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return an image (H, W, 3) uint8 RGB overlaid with a heat map (H, W) in 0..1: blue is low, red is high."""
    colours = cv2.cvtColor(cv2.applyColorMap((heat * 255).astype(np.uint8), cv2.COLORMAP_JET), cv2.COLOR_BGR2RGB)
    return np.asarray(cv2.addWeighted(image, 1 - _OPACITY, colours, _OPACITY, 0), np.uint8)


def _grad_cam(detector: Detector, pixels: Tensor) -> Tensor | None:
    """Return maps (B, h, w); None where the only convolution embeds patches, which is too early to explain a logit."""
    feature_maps: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
        if output.ndim >= 4 and min(output.shape[-2:]) > 1:
            feature_maps.append(output)

    with ExitStack() as hooks:
        for layer in detector.modules():
            if isinstance(layer, (nn.Conv2d, nn.Conv3d)):
                hooks.callback(layer.register_forward_hook(keep).remove)
        logits = hooks.enter_context(_differentiable(detector))(pixels)
        if len(feature_maps) < 2:
            return None
        last = feature_maps[-1]
        (gradient,) = torch.autograd.grad(logits.sum(), last)
    beyond_channels = tuple(range(2, last.ndim))
    weights = gradient.mean(dim=beyond_channels, keepdim=True)
    heat = functional.relu((weights * last.detach()).sum(dim=1))
    return heat if heat.ndim == 3 else heat.mean(dim=1)


def _attention_layers(detector: Detector) -> list[nn.Module]:
    """Return the attention layers of a plain vision transformer of timm, in order; none for any other network."""
    body: Any = getattr(detector.network, "body", None)
    if not hasattr(body, "num_prefix_tokens") or not isinstance(getattr(body, "blocks", None), nn.Sequential):
        return []
    layers = [getattr(block, "attn", None) for block in body.blocks]
    known = all(
        hasattr(layer, "fused_attn") and isinstance(getattr(layer, "attn_drop", None), nn.Dropout) for layer in layers
    )
    return [layer for layer in layers if layer is not None] if known else []


def _attention_relevance(detector: Detector, pixels: Tensor, layers: list[nn.Module]) -> Tensor:
    """Return the relevance (B, h, w) of every patch."""
    attention: list[Tensor] = []
    body: Any = detector.network.body
    with ExitStack() as hooks:
        for layer in layers:
            # The fused kernel keeps no attention; the layer's other branch passes it through its dropout.
            hooks.callback(setattr, layer, "fused_attn", layer.fused_attn)
            layer.fused_attn = False  # type: ignore[assignment]
            dropout: Any = layer.attn_drop
            hooks.callback(dropout.register_forward_hook(lambda _, __, output: attention.append(output)).remove)
        logits = hooks.enter_context(_differentiable(detector))(pixels)
        gradients = torch.autograd.grad(logits.sum(), attention)
    tokens = attention[0].shape[-1]
    relevance = torch.eye(tokens, device=logits.device).repeat(len(pixels), 1, 1)
    for weights, gradient in zip(attention, gradients, strict=True):
        raising = functional.relu(weights.detach() * gradient).mean(dim=1)
        relevance = relevance + raising @ relevance
    prefix = int(body.num_prefix_tokens)
    # The classifier reads the class token, or the mean of the patches.
    read = relevance[:, 0] if getattr(body, "global_pool", "token") == "token" else relevance[:, prefix:].mean(dim=1)
    patches = read[:, prefix:]
    # What every token adds to itself is no evidence, and is the same for all of them.
    patches = patches - patches.amin(dim=1, keepdim=True)
    side = isqrt(patches.shape[1])
    return patches.reshape(len(pixels), side, side)


def _occlusion(detector: Detector, pixels: Tensor) -> Tensor:
    """Return how far the logit falls, (B, h, w), when a patch takes the mean colour of its picture or clip."""
    edges = np.linspace(0, detector.image_size, _OCCLUDED + 1).round().astype(int)
    heat = torch.zeros(len(pixels), _OCCLUDED, _OCCLUDED)
    with torch.inference_mode():
        for at, sample in enumerate(pixels):
            mean = sample.float().mean(dim=(-2, -1), keepdim=True).round().to(torch.uint8)
            hidden = []
            for row, column in np.ndindex(_OCCLUDED, _OCCLUDED):
                picture = sample.clone()
                region = (..., slice(edges[row], edges[row + 1]), slice(edges[column], edges[column + 1]))
                picture[region] = mean
                hidden.append(picture)
            before = detector(sample[None])
            after = torch.cat([detector(torch.stack(part)) for part in _batches(hidden)])
            heat[at] = functional.relu(before - after).reshape(_OCCLUDED, _OCCLUDED).cpu()
    return heat


def _batches(samples: list[Tensor]) -> Iterator[list[Tensor]]:
    for start in range(0, len(samples), _BATCH_SIZE):
        yield samples[start : start + _BATCH_SIZE]


@contextmanager
def _differentiable(detector: Detector) -> Iterator[Detector]:
    """Have every layer's output depend on an input with a gradient, although the weights may be frozen."""

    def require_gradient(network: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0].detach().requires_grad_(), *inputs[1:])

    hook = detector.network.register_forward_pre_hook(require_gradient)
    try:
        with torch.enable_grad():
            yield detector
    finally:
        hook.remove()
