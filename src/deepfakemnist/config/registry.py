"""Animator names, listed from the package folder without importing animator code.

Keeps `config` free of imports from the stages.
"""

from __future__ import annotations

from pathlib import Path
from pkgutil import iter_modules

_ANIMATORS = Path(__file__).parents[1] / "animate" / "animators"


def animator_names() -> list[str]:
    """Return the names of all animators: the modules of ``deepfakemnist.animate.animators``."""
    return sorted(module.name for module in iter_modules([str(_ANIMATORS)]))
