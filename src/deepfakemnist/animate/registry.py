"""Loading of animators: the settings of one name the module that renders, in this package or in a plug-in.

That module has a function

    def load(settings: AnimatorSettings, weights: Path | None, device: str) -> Animator

where ``weights`` is the file named in the config, or trained by the run; docs/adding_an_animator.md says how to
add one.
"""

from __future__ import annotations

import logging
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfakemnist.config.animators.registry import CLASSES
from deepfakemnist.errors import ConfigError

if TYPE_CHECKING:
    from deepfakemnist.animate.checkpoints import WeightFormat
    from deepfakemnist.animate.protocol import Animator
    from deepfakemnist.config.animators.base import AnimatorSettings

log = logging.getLogger(__name__)


def load_animator(settings: AnimatorSettings, weights: Path | None, device: str = "auto") -> Animator[Any]:
    """Return the animator that the settings describe, ready for use.

    Args:
        settings: an entry of the config's ``animators``.
        weights: weight file; None for an animator without weights.
        device: ``cpu``, ``cuda`` or ``auto``.

    Raises: ConfigError for missing or unusable weights, a module that cannot be imported, or a CPU for an animator that
        needs a GPU.
    """
    if settings.gpu_only and not getattr(settings, "allow_cpu", False) and not uses_gpu(device):
        raise ConfigError(
            f"animator {settings.named} needs a GPU, and this job has none: request one (--resources gpu=1, and "
            "device: auto or cuda), or set allow_cpu: true in its settings to wait many seconds for each frame"
        )
    try:
        module = import_module(settings.module)
    except ImportError as error:
        raise ConfigError(f"animator {settings.named}: {settings.module} cannot be imported: {error}") from error
    animator: Animator[Any] = module.load(settings, weights, device)
    return animator


def weight_formats() -> dict[str, WeightFormat]:
    """Return the weight formats of all animators that define one, see ``WeightFormat``, by name.

    A plug-in that cannot be imported is named and left aside: the file may be another animator's.
    """
    formats = {}
    for name, settings in sorted(CLASSES.items()):
        try:
            module = import_module(settings.module)
        except ImportError as error:
            log.warning("animator %s: %s cannot be imported: %s", name, settings.module, error)
            continue
        if hasattr(module, "WEIGHTS"):
            formats[name] = module.WEIGHTS
    return formats


def uses_gpu(device: str) -> bool:
    """Return whether a device, ``auto``, ``cuda`` or ``cpu``, is a GPU on this machine."""
    if device == "cpu":
        return False
    from deepfakemnist.devices.torch_device import choose_device  # deferred: the mesh runs without torch

    return choose_device(device).type == "cuda"
