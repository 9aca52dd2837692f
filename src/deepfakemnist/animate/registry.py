"""Registry of animators: ``animator.name`` names a module of ``deepfakemnist.animate.animators``.

To add one, write ``animate/animators/<name>.py`` with a function

    def load(settings: AnimatorSettings, weights: Path | None, device: str) -> Animator

and set ``animator.name: <name>``. Nothing else needs to know of it: ``weights`` is the file that the config names.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepfakemnist.animate.protocol import Animator
    from deepfakemnist.config.animator import AnimatorSettings


_PACKAGE = "deepfakemnist.animate.animators"


def load_animator(settings: AnimatorSettings, weights: Path | None, device: str = "auto") -> Animator[Any]:
    """Return the animator that the settings name, ready to work.

    Args:
        settings: the config's ``animator``.
        weights: file of weights; None for an animator that needs none.
        device: ``cpu``, ``cuda`` or ``auto``.

    Raises: ConfigError for missing or unusable weights.
    """
    animator: Animator[Any] = import_module(f"{_PACKAGE}.{settings.name}").load(settings, weights, device)
    return animator
