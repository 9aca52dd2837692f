"""The losses of the First Order Motion Model (arXiv 2003.00196, section 3.3), and two that help small models.

The paper's are reconstruction, equivariance of keypoints and jacobians, and, in vox-adv, the adversarial one with
feature matching. ``landmarks`` and ``face_detail`` are not in the paper: see ``facial_points``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from deepfakemnist.animate.fomm.network import FirstOrderMotionModel, Keypoints
from deepfakemnist.animate.training.discriminator import (
    MultiScaleDiscriminator,
    discriminator_loss,
    feature_matching_loss,
    generator_loss,
)
from deepfakemnist.animate.training.equivariance import RandomDeformation
from deepfakemnist.animate.training.pairs import Pairs
from deepfakemnist.animate.training.perceptual import PixelPyramid, VggPyramid
from deepfakemnist.animate.training.perturb import perturb_pictures
from deepfakemnist.config.animator import TrainAnimatorSettings
from deepfakemnist.devices.reduced_precision import autocast_is_right, gains_by_reduced_precision
from deepfakemnist.faces.facial_points import APERTURES, EYE_REGIONS, FACE_REGIONS, Regions, detail_map

#: Steps over which the jacobian term grows to its weight: while keypoints still wander, jacobians learn nothing.
_JACOBIAN_RAMP = 300
#: Eyes and mouth are compared at full and half resolution; coarser scales hold nothing of them.
_DETAIL_SCALES = 2


@dataclass(frozen=True)
class StepLosses:
    """Weighted terms of the loss at one step; 0 for those that are off."""

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
    """Loss of the discriminator itself; not part of ``total``."""

    @property
    def total(self) -> float:
        """Sum of the terms that the two networks are trained on."""
        return sum(getattr(self, field.name) for field in fields(self) if field.name not in ("step", "discriminator"))


class Animated(NamedTuple):
    """What the networks made of a batch, and the weighted terms of the loss."""

    terms: dict[str, Tensor]
    """By the names of ``StepLosses``."""
    prediction: Tensor | None
    """(B, 3, H, W); None in the steps that train the keypoint detector alone."""
    driving: Keypoints


class Objective:
    """The loss that the settings ask for.

    Args:
        settings: weights of the terms.
        device: where the networks are.
    """

    def __init__(self, settings: TrainAnimatorSettings, device: torch.device) -> None:
        self.settings = settings
        self.autocast = settings.mixed_precision and gains_by_reduced_precision(device)
        perceptual = PixelPyramid(settings.gradient) if settings.vgg19 is None else VggPyramid(settings.vgg19)
        self.perceptual = perceptual.to(device)

    @property
    def description(self) -> str:
        """Say what the reconstruction is measured with."""
        return str(self.perceptual.description)

    def check_autocast(self, networks: FirstOrderMotionModel) -> None:
        """Do without bfloat16 where this processor computes it wrongly."""
        model, size = networks.settings, self.settings.size
        device = next(networks.parameters()).device
        picture = torch.zeros(1, model.num_channels, size, size, device=device)
        still = Keypoints(
            torch.zeros(1, model.num_kp, 2, device=device), torch.eye(2, device=device).expand(1, model.num_kp, 2, 2)
        )
        self.autocast = (
            self.autocast
            and autocast_is_right(networks.generator, picture, still, still, device=device)
            and autocast_is_right(self.perceptual, picture, picture, device=device)
        )

    def __call__(
        self,
        networks: FirstOrderMotionModel,
        discriminator: MultiScaleDiscriminator | None,
        pairs: Pairs,
        random: torch.Generator,
        step: int,
    ) -> Animated:
        """Animate the sources of ``pairs`` towards their driving frames and weigh what is wrong with the result."""
        settings, device = self.settings, pairs.source.device
        if settings.train_keypoints:
            terms, of_source, of_driving = self._keypoint_terms(networks, pairs, random, step)
        else:
            terms = {}
            with torch.no_grad():
                detector = networks.kp_detector.eval()  # its batch norms stay as they are, too
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
            fake, verdict = discriminator(prediction, keypoints)
            terms["adversarial"] = settings.adversarial * generator_loss(verdict)
            if settings.feature_matching:
                real, _ = discriminator(pairs.driving, keypoints)
                terms["feature_matching"] = settings.feature_matching * feature_matching_loss(real, fake)
        return Animated(terms, prediction, of_driving)

    def _keypoint_terms(
        self, networks: FirstOrderMotionModel, pairs: Pairs, random: torch.Generator, step: int
    ) -> tuple[dict[str, Tensor], Keypoints, Keypoints]:
        """Return what is wrong with the keypoints, and those of sources and of driving frames."""
        settings, batch = self.settings, len(pairs.source)
        deformation = RandomDeformation(batch, random, pairs.source.device)
        deformed = deformation.pictures(pairs.driving, networks.generator.align_corners)
        seen = torch.cat([pairs.source, pairs.driving, deformed])
        if settings.disturb_keypoints:
            seen = perturb_pictures(seen, settings.disturb_keypoints, random)
        # One pass over all three, so that batch norm sees the same statistics for each.
        found = networks.kp_detector(seen)
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


def judge_loss(discriminator: MultiScaleDiscriminator, pairs: Pairs, prediction: Tensor, driving: Keypoints) -> Tensor:
    """Return the discriminator's own loss on driving frames and on what was animated towards them."""
    keypoints = driving.value.detach()
    _, real = discriminator(pairs.driving, keypoints)
    _, fake = discriminator(prediction.detach(), keypoints)
    return discriminator_loss(real, fake)


def equivariance_losses(
    driving: Keypoints, deformed: Keypoints, deformation: RandomDeformation
) -> tuple[Tensor, Tensor]:
    """Return the mean absolute error of keypoints and of jacobians under a known deformation of the picture."""
    value = (driving.value - deformation.points(deformed.value)).abs().mean()
    carried = deformation.jacobian(deformed.value) @ deformed.jacobian
    identity = torch.eye(2, device=carried.device)
    jacobian = (identity - torch.linalg.inv(driving.jacobian) @ carried).abs().mean()
    return value, jacobian


def landmark_loss(values: Tensor, points: Tensor) -> Tensor:
    """Return the mean absolute distance of the first keypoints from facial points, plus that of apertures.

    How far an eye is open is a small difference of two positions, so it has a term of its own.

    Args:
        values: (B, K, 2) keypoints.
        points: (B, P, 2) ``FACIAL_POINTS`` in the same coordinates; pictures with NaN count for nothing.
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
    """Return the mean over ``regions`` of L1 and gradients; 0 where no picture of the batch shows a face."""
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
