"""Numbers of report pages as text: sizes on disk, durations and counts in units that fit them."""

from __future__ import annotations

import math
from collections.abc import Sequence

_SIZES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def size_unit(sizes: Sequence[int]) -> tuple[float, str]:
    """Return bytes per unit and the name of the unit that suits the largest of some sizes in bytes: TB to kB."""
    largest = max(sizes, default=0)
    return next(((factor, name) for factor, name in _SIZES if largest >= factor), _SIZES[-1])


def size_text(size: int) -> str:
    """Return bytes as text in the unit that suits them."""
    factor, name = size_unit([size])
    return f"{in_unit(size / factor)} {name}"


def in_unit(value: float) -> str:
    """Return a number with three significant digits, or all of those before the decimal point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def duration(seconds: float) -> str:
    """Return a duration as hours, minutes or seconds, whichever is one or more."""
    for factor, name in ((3600, "h"), (60, "min")):
        if seconds >= factor:
            return f"{in_unit(seconds / factor)} {name}"
    return f"{in_unit(seconds)} s"


def counted(number: int, one: str, several: str = "") -> str:
    """Return a number with its noun, ``1 video`` or ``1,200 videos``; the plural is the noun with s unless given."""
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def number(value: float | None, digits: int = 2) -> str:
    """Return a number with some decimals; a dash for none."""
    if value is None or not math.isfinite(value):
        return "–"
    # Adding zero makes -0.0 a plain one.
    return f"{round(value, digits) + 0.0:.{digits}f}"
