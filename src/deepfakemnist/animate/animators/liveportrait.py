"""LivePortrait as animator, ``name: liveportrait``."""

from __future__ import annotations

from pathlib import Path

from deepfakemnist.animate.checkpoints import WeightFormat
from deepfakemnist.animate.liveportrait.animator import LICENCE, LivePortraitAnimator
from deepfakemnist.animate.liveportrait.checkpoint import architecture, load_weights, read_weights
from deepfakemnist.animate.liveportrait.transfer import Transfer
from deepfakemnist.config.animators.liveportrait import LivePortraitSettings
from deepfakemnist.errors import ConfigError

WEIGHTS = WeightFormat("LivePortrait", read_weights, architecture, LICENCE)


def load(settings: LivePortraitSettings, weights: Path | None, device: str) -> LivePortraitAnimator:
    """Return the animator with its weights loaded. Raises ConfigError, see ``load_weights``."""
    if weights is None:
        raise ConfigError("name: liveportrait needs weights")
    return LivePortraitAnimator(
        load_weights(weights, settings.weights_sha256),
        transfer=Transfer(
            relative=settings.motion == "relative",
            region=settings.region,
            stitching=settings.stitching,
            driving_multiplier=settings.driving_multiplier,
            normalize_lip=settings.normalize_lip,
            eye_retargeting=settings.eye_retargeting,
            lip_retargeting=settings.lip_retargeting,
        ),
        start_frame=settings.starts_from,
        framing=settings.framing,
        precision=settings.precision,
        batch_size=None if settings.batch_size == "auto" else settings.batch_size,
        device=device,
    )
