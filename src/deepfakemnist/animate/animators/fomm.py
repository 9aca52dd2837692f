"""First Order Motion Model as animator, ``animator.name: fomm``."""

from __future__ import annotations

from pathlib import Path

from deepfakemnist.animate.fomm.animator import FommAnimator
from deepfakemnist.animate.fomm.checkpoint import WEIGHTS
from deepfakemnist.config.animators.fomm import FommSettings
from deepfakemnist.errors import ConfigError

__all__ = ["WEIGHTS", "load"]


def load(settings: FommSettings, weights: Path | None, device: str) -> FommAnimator:
    """Return the animator with its weights loaded. Raises ConfigError, see ``load_checkpoint``."""
    if weights is None:
        raise ConfigError("animator.name: fomm needs animator.weights")
    # A checksum in the config refers to the user's weights, not to those trained by this run.
    sha256 = settings.weights_sha256 if settings.weights is not None else None
    return FommAnimator.from_checkpoint(weights, settings, sha256=sha256, device=device)
