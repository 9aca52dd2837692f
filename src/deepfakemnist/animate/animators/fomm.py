"""``animator.name: fomm``: the First Order Motion Model."""

from __future__ import annotations

from pathlib import Path

from deepfakemnist.animate.fomm.animator import FommAnimator
from deepfakemnist.config.animator import AnimatorSettings
from deepfakemnist.errors import ConfigError


def load(settings: AnimatorSettings, weights: Path | None, device: str) -> FommAnimator:
    """Return the animator with its weights. Raises ConfigError, see ``load_checkpoint``."""
    if weights is None:
        raise ConfigError("animator.name: fomm needs animator.weights")
    # A digest in the config speaks of the user's weights, not of those this run trained.
    sha256 = settings.weights_sha256 if settings.weights is not None else None
    return FommAnimator.from_checkpoint(weights, settings, sha256=sha256, device=device)
