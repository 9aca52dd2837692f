"""Registry of animators: ``animator.name`` names a module of ``deepfakemnist.animate.animators``.

To add one, write ``animate/animators/<name>.py`` with a function

    def load(settings: AnimatorSettings, weights: Path | None, device: str) -> Animator

and set ``animator.name: <name>``. No other code changes; ``weights`` is the file named in the config.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfakemnist.config.registry import animator_names

if TYPE_CHECKING:
    from deepfakemnist.animate.checkpoints import WeightFormat
    from deepfakemnist.animate.protocol import Animator
    from deepfakemnist.config.animator import AnimatorSettings


_PACKAGE = "deepfakemnist.animate.animators"


def load_animator(settings: AnimatorSettings, weights: Path | None, device: str = "auto") -> Animator[Any]:
    """Return the animator named in the settings, ready for use.

    Args:
        settings: the config's ``animator``.
        weights: weight file; None for an animator without weights.
        device: ``cpu``, ``cuda`` or ``auto``.

    Raises: ConfigError for missing or unusable weights.
    """
    animator: Animator[Any] = import_module(f"{_PACKAGE}.{settings.name}").load(settings, weights, device)
    return animator


def weight_formats() -> dict[str, WeightFormat]:
    """Return the weight formats of all animators that define one, see ``WeightFormat``, by name."""
    modules = {name: import_module(f"{_PACKAGE}.{name}") for name in animator_names()}
    return {name: module.WEIGHTS for name, module in modules.items() if hasattr(module, "WEIGHTS")}
