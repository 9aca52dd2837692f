"""Pictures changed as light, cameras and hands before the face change them, none of which moves a facial point.

A keypoint detector that learns from rendered faces alone follows people's faces less than theirs; on pictures perturbed
at random it cannot rely on how the renderer lights and draws.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

#: At strength 1, standard deviations: of the logarithm of light and of its change over the picture, of the logarithm of
#: gamma, of the logarithm of each channel's gain; greatest noise; chance of a patch, and its largest side as a share of
#: the picture's.
_LIGHT, _SLOPE, _GAMMA, _CHANNEL, _NOISE, _PATCH, _PATCH_SIDE = 0.25, 0.5, 0.35, 0.1, 0.08, 0.4, 0.35
#: A blurred picture is mixed from itself and itself shrunk by this factor.
_SHRINK = 4


def perturb_pictures(pictures: Tensor, strength: float, random: torch.Generator) -> Tensor:
    """Return pictures (B, 3, H, W) in 0..1, each perturbed in its own way.

    Args:
        pictures: in 0..1.
        strength: 0 changes nothing, 1 as strongly as pictures of people differ.
        random: on the CPU, where the same state gives the same pictures on every device, or on the pictures' device,
            where drawing noise for a large batch takes no time.
    """
    batch, _, height, width = pictures.shape

    def normal(*shape: int) -> Tensor:
        return strength * torch.randn(batch, *shape, generator=random, device=random.device).to(pictures.device)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(batch, *shape, generator=random, device=random.device).to(pictures.device)

    x = torch.linspace(-1, 1, width, device=pictures.device)
    y = torch.linspace(-1, 1, height, device=pictures.device)[:, None]
    across, down = (_SLOPE * normal(1, 1, 1) for _ in range(2))
    light = torch.exp(_LIGHT * normal(1, 1, 1) + _CHANNEL * normal(3, 1, 1) + across * x + down * y)
    grey = pictures.mean(dim=1, keepdim=True)
    saturation = 1 - strength * uniform(1, 1, 1)
    changed = (grey + (pictures - grey) * saturation).clamp_min(1e-4) ** torch.exp(_GAMMA * normal(1, 1, 1))
    changed = changed * light
    shrunk = F.interpolate(F.avg_pool2d(changed, _SHRINK, ceil_mode=True), (height, width), mode="bilinear")
    changed = torch.lerp(changed, shrunk, strength * uniform(1, 1, 1))
    noise = _NOISE * uniform(1, 1, 1) * normal(3, height, width)
    side, centre = _PATCH_SIDE * uniform(2, 1, 1), 2 * uniform(2, 1, 1) - 1
    covered = ((x - centre[:, :1]).abs() < side[:, :1]) & ((y - centre[:, 1:]).abs() < side[:, 1:])
    covered &= uniform(1, 1, 1) < _PATCH * strength
    return torch.where(covered, uniform(3, 1, 1), changed + noise).clamp(0, 1)
