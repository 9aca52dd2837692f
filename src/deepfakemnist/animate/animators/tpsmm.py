"""Thin-Plate-Spline Motion Model as animator, ``name: tpsmm``."""

from __future__ import annotations

from pathlib import Path

from deepfakemnist.animate.tpsmm.animator import TpsmmAnimator
from deepfakemnist.animate.tpsmm.checkpoint import WEIGHTS
from deepfakemnist.config.animators.tpsmm import TpsmmSettings
from deepfakemnist.errors import ConfigError

__all__ = ["WEIGHTS", "load"]


def load(settings: TpsmmSettings, weights: Path | None, device: str) -> TpsmmAnimator:
    """Return the animator with its weights loaded. Raises ConfigError, see ``load_checkpoint``."""
    if weights is None:
        raise ConfigError("animator tpsmm needs weights: the official vox.pth.tar, or another checkpoint of its layout")
    return TpsmmAnimator.from_checkpoint(weights, settings, device=device)
