"""Names that a config may choose from, read off the package's folders without importing what they name."""

from __future__ import annotations

from pathlib import Path
from pkgutil import iter_modules

_ANIMATORS = Path(__file__).parents[1] / "animate" / "animators"


def animator_names() -> list[str]:
    """Return the names of all animators: the modules of ``deepfakemnist.animate.animators``."""
    return sorted(module.name for module in iter_modules([str(_ANIMATORS)]))
