"""Losses of the First Order Motion Model (arXiv 2003.00196, section 3.3), with additions for small models.

The paper has reconstruction, equivariance of keypoints and jacobians, and, in vox-adv, an adversarial loss with feature
matching. ``landmarks`` and ``face_detail`` are not in the paper: see ``facial_points``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from deepfakemnist.animate.fomm.network import FirstOrderMotionModel, Keypoints, invert_2x2
from deepfakemnist.animate.training.discriminator import (
    MultiScaleDiscriminator,
    discriminator_loss,
    feature_matching_loss,
    generator_loss,
)
from deepfakemnist.animate.training.equivariance import RandomDeformation
from deepfakemnist.animate.training.pair_batches import Pairs
from deepfakemnist.animate.training.perceptual import PixelPyramid, VggPyramid
from deepfakemnist.animate.training.perturb import perturb_images
from deepfakemnist.config.animators.fomm import TrainAnimatorSettings
from deepfakemnist.devices.reduced_precision import autocast_is_accurate, benefits_from_reduced_precision
from deepfakemnist.faces.facial_points import APERTURES, EYE_REGIONS, FACE_REGIONS, Regions, detail_map

#: Warm-up of the jacobian term, steps: jacobians learn nothing while keypoints are still unstable.
_JACOBIAN_RAMP = 300
#: Eyes and mouth are compared at full and half resolution; coarser scales do not resolve them.
_DETAIL_SCALES = 2


@dataclass(frozen=True)
class StepLosses:
    """Weighted loss terms at one step; 0 for disabled ones."""

    step: int
    reconstruction: float = 0.0
    face_detail: float = 0.0
    eye_detail: float = 0.0
    keep_source: float = 0.0
    equivariance_value: float = 0.0
    equivariance_jacobian: float = 0.0
    landmarks: float = 0.0
    adversarial: float = 0.0
    feature_matching: float = 0.0
    discriminator: float = 0.0
    """Loss of the discriminator; not part of ``total``."""

    @property
    def total(self) -> float:
        """Total loss of keypoint detector and generator."""
        return sum(getattr(self, field.name) for field in fields(self) if field.name not in ("step", "discriminator"))


class Animated(NamedTuple):
    """Animated batch with its weighted loss terms."""

    terms: dict[str, Tensor]
    """Keyed like the fields of ``StepLosses``."""
    prediction: Tensor | None
    """(B, 3, H, W); None in steps that train only the keypoint detector."""
    driving: Keypoints


class Objective:
    """Training loss as configured.

    Args:
        settings: weights of the loss terms.
        device: of the networks.
    """

    def __init__(self, settings: TrainAnimatorSettings, device: torch.device) -> None:
        self.settings = settings
        self.autocast = settings.mixed_precision and benefits_from_reduced_precision(device)
        perceptual = PixelPyramid(settings.gradient) if settings.vgg19 is None else VggPyramid(settings.vgg19)
        self.perceptual = perceptual.to(device)

    @property
    def description(self) -> str:
        """Description of the reconstruction loss."""
        return str(self.perceptual.description)

    def check_autocast(self, networks: FirstOrderMotionModel) -> None:
        """Disable autocast if this processor computes bfloat16 wrongly."""
        model, size = networks.settings, self.settings.size
        device = next(networks.parameters()).device
        image = torch.zeros(1, model.num_channels, size, size, device=device)
        keypoints = Keypoints(
            torch.zeros(1, model.num_kp, 2, device=device), torch.eye(2, device=device).expand(1, model.num_kp, 2, 2)
        )
        self.autocast = (
            self.autocast
            and autocast_is_accurate(networks.generator, image, keypoints, keypoints, device=device)
            and autocast_is_accurate(self.perceptual, image, image, device=device)
        )

    def __call__(
        self,
        networks: FirstOrderMotionModel,
        discriminator: MultiScaleDiscriminator | None,
        pairs: Pairs,
        random: torch.Generator,
        step: int,
    ) -> Animated:
        """Animate the sources of ``pairs`` towards their driving frames and compute the weighted loss terms."""
        settings, device = self.settings, pairs.source.device
        if settings.train_keypoints:
            terms, of_source, of_driving = self._keypoint_terms(networks, pairs, random, step)
        else:
            terms = {}
            with torch.no_grad():
                detector = networks.kp_detector.eval()  # freezes its batch norm statistics, too
                of_source, of_driving = detector(pairs.source), detector(pairs.driving)
        if step <= settings.landmark_steps:
            return Animated(terms, None, of_driving)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.autocast):
            encoded = networks.generator.encode(pairs.source)
            motion = networks.generator.motion(encoded, of_source, of_driving)
            prediction = networks.generator.decode(encoded, motion)
            terms["reconstruction"] = settings.reconstruction * self.perceptual(prediction, pairs.driving)
        if settings.keep_source and motion.occlusion is not None:
            terms["keep_source"] = settings.keep_source * (1 - motion.occlusion).mean()
        if pairs.driving_points is not None:
            for name, regions in (("face_detail", FACE_REGIONS), ("eye_detail", EYE_REGIONS)):
                if weight := getattr(settings, name):
                    terms[name] = weight * detail_loss(prediction, pairs.driving, pairs.driving_points, regions)
        if discriminator is not None:
            keypoints = of_driving.value.detach()
            fake, scores = discriminator(prediction, keypoints)
            terms["adversarial"] = settings.adversarial * generator_loss(scores)
            if settings.feature_matching:
                real, _ = discriminator(pairs.driving, keypoints)
                terms["feature_matching"] = settings.feature_matching * feature_matching_loss(real, fake)
        return Animated(terms, prediction, of_driving)

    def _keypoint_terms(
        self, networks: FirstOrderMotionModel, pairs: Pairs, random: torch.Generator, step: int
    ) -> tuple[dict[str, Tensor], Keypoints, Keypoints]:
        """Return the loss terms of the keypoints, and the keypoints of source and driving frames."""
        settings, batch = self.settings, len(pairs.source)
        deformation = RandomDeformation(batch, random, pairs.source.device)
        deformed = deformation.images(pairs.driving, networks.generator.align_corners)
        images = torch.cat([pairs.source, pairs.driving, deformed])
        if settings.disturb_keypoints:
            images = perturb_images(images, settings.disturb_keypoints, random)
        # One forward pass for all three, so that they share batch norm statistics.
        found = networks.kp_detector(images)
        of_source, of_driving, of_deformed = (
            Keypoints(*(part[i * batch : (i + 1) * batch] for part in found)) for i in range(3)
        )
        value, jacobian = equivariance_losses(of_driving, of_deformed, deformation)
        ramp = min(1.0, step / _JACOBIAN_RAMP)
        terms = {
            "equivariance_value": settings.equivariance_value * value,
            "equivariance_jacobian": settings.equivariance_jacobian * ramp * jacobian,
        }
        if settings.landmarks and pairs.source_points is not None and pairs.driving_points is not None:
            values = torch.cat([of_source.value, of_driving.value])
            points = torch.cat([pairs.source_points, pairs.driving_points])
            terms["landmarks"] = settings.landmarks * landmark_loss(values, points)
        return terms, of_source, of_driving


def discriminator_objective(
    discriminator: MultiScaleDiscriminator, pairs: Pairs, prediction: Tensor, driving: Keypoints
) -> Tensor:
    """Return the discriminator's loss on driving frames and the frames animated towards them."""
    keypoints = driving.value.detach()
    _, real = discriminator(pairs.driving, keypoints)
    _, fake = discriminator(prediction.detach(), keypoints)
    return discriminator_loss(real, fake)


def equivariance_losses(
    driving: Keypoints, deformed: Keypoints, deformation: RandomDeformation
) -> tuple[Tensor, Tensor]:
    """Return the mean absolute error of keypoints and jacobians under a known deformation of the image."""
    value = (driving.value - deformation.points(deformed.value)).abs().mean()
    transformed = deformation.jacobian(deformed.value) @ deformed.jacobian
    identity = torch.eye(2, device=transformed.device)
    jacobian = (identity - invert_2x2(driving.jacobian) @ transformed).abs().mean()
    return value, jacobian


def landmark_loss(values: Tensor, points: Tensor) -> Tensor:
    """Return the mean absolute error of the first keypoints to facial points, plus that of eye and mouth apertures.

    An aperture is a small difference of two positions, so it gets a separate term.

    Args:
        values: (B, K, 2) keypoints.
        points: (B, P, 2) ``FACIAL_POINTS`` in the same coordinates; images with NaN are ignored.
    """
    known = points.isfinite().all(dim=(1, 2))
    if not known.any():
        return values.new_zeros(())
    count = min(values.shape[1], points.shape[1])
    error = values[known, :count] - points[known, :count]
    apertures = [(i, j) for i, j in APERTURES if max(i, j) < count]
    loss = error.abs().mean()
    if apertures:
        first, second = (list(side) for side in zip(*apertures, strict=True))
        loss = loss + (error[:, first] - error[:, second]).abs().mean()
    return loss


def detail_loss(prediction: Tensor, target: Tensor, points: Tensor, regions: Regions = FACE_REGIONS) -> Tensor:
    """Return the mean L1 and gradient error within ``regions``; 0 if no image of the batch shows a face."""
    height, width = target.shape[-2:]
    weights = detail_map(points, height, width, regions)
    error = prediction - target
    loss = prediction.new_zeros(())
    for scale in range(_DETAIL_SCALES):
        if scale:
            error, weights = F.avg_pool2d(error, 2), F.avg_pool2d(weights, 2)
        area = 3 * weights.sum() + 1
        slopes = (error.diff(dim=-1).abs() * weights[..., 1:]).sum() + (
            error.diff(dim=-2).abs() * weights[..., 1:, :]
        ).sum()
        loss = loss + ((error.abs() * weights).sum() + slopes) / area
    return loss
