"""Random photometric perturbation of training images: lighting, camera noise and blur, occluding patches.

None of it moves a facial point. A keypoint detector trained on rendered faces alone tracks real faces less well;
perturbed images keep it from relying on the lighting and shading of the renderer.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

#: At strength 1, standard deviations: of the logarithm of brightness and of its gradient over the image, of the
#: logarithm of gamma, of the logarithm of each channel's gain; maximum noise; probability of a patch, and its maximum
#: side as a fraction of the image's.
_LIGHT, _SLOPE, _GAMMA, _CHANNEL, _NOISE, _PATCH, _PATCH_SIDE = 0.25, 0.5, 0.35, 0.1, 0.08, 0.4, 0.35
#: Blur blends the image with itself downsampled by this factor.
_SHRINK = 4


def perturb_images(images: Tensor, strength: float, random: torch.Generator) -> Tensor:
    """Return images (B, 3, H, W) in 0..1, each with a perturbation of its own.

    Args:
        images: in 0..1.
        strength: 0 changes nothing, 1 matches the variation among photographs of people.
        random: on the CPU, where the same state gives the same images on every device, or on the device of the images,
            where sampling noise for a large batch costs almost no time.
    """
    batch, _, height, width = images.shape

    def normal(*shape: int) -> Tensor:
        return strength * torch.randn(batch, *shape, generator=random, device=random.device).to(
            images.device, non_blocking=True
        )

    def uniform(*shape: int) -> Tensor:
        return torch.rand(batch, *shape, generator=random, device=random.device).to(images.device, non_blocking=True)

    x = torch.linspace(-1, 1, width, device=images.device)
    y = torch.linspace(-1, 1, height, device=images.device)[:, None]
    across, down = (_SLOPE * normal(1, 1, 1) for _ in range(2))
    light = torch.exp(_LIGHT * normal(1, 1, 1) + _CHANNEL * normal(3, 1, 1) + across * x + down * y)
    grey = images.mean(dim=1, keepdim=True)
    saturation = 1 - strength * uniform(1, 1, 1)
    changed = (grey + (images - grey) * saturation).clamp_min(1e-4) ** torch.exp(_GAMMA * normal(1, 1, 1))
    changed = changed * light
    shrunk = F.interpolate(F.avg_pool2d(changed, _SHRINK, ceil_mode=True), (height, width), mode="bilinear")
    changed = torch.lerp(changed, shrunk, strength * uniform(1, 1, 1))
    noise = _NOISE * uniform(1, 1, 1) * normal(3, height, width)
    side, centre = _PATCH_SIDE * uniform(2, 1, 1), 2 * uniform(2, 1, 1) - 1
    covered = ((x - centre[:, :1]).abs() < side[:, :1]) & ((y - centre[:, 1:]).abs() < side[:, 1:])
    covered &= uniform(1, 1, 1) < _PATCH * strength
    return torch.where(covered, uniform(3, 1, 1), changed + noise).clamp(0, 1)
