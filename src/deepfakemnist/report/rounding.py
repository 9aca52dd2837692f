"""Rounding of percentages: a figure shows no digit that its interval leaves open.

Value and interval have as many decimals as give the interval's half width two significant digits, at most two: 94.3
[91.0–97.1], but 94 [50–80]. Without an interval a percentage is whole where people are too few for one.
"""

from __future__ import annotations

import math

#: Without an interval: from enough people, and from too few to say how far off the value may be.
USUAL, TOO_FEW = 1, 0
_MOST = 2


def decimals(low: float | None, high: float | None, without: int = USUAL) -> int:
    """Return the number of decimals for a value with an interval, 0..2.

    Args:
        low, high: ends of the interval; None without one.
        without: number of decimals without an interval, or with one of no width.
    """
    if low is None or high is None or high <= low:
        return without
    return min(_MOST, max(0, 1 - math.floor(math.log10((high - low) / 2))))


def with_interval(value: float, low: float | None, high: float | None, without: int = USUAL) -> str:
    """Return ``94.3 [91.0–97.1]``; ``94.3`` without an interval. Arguments as in :func:`decimals`, all of one unit."""
    digits = decimals(low, high, without)
    text = f"{value:.{digits}f}"
    return text if low is None or high is None else f"{text} [{low:.{digits}f}–{high:.{digits}f}]"


def signed_with_interval(value: float, low: float | None, high: float | None, without: int = USUAL) -> str:
    """Return a difference as ``+2.1 [−0.4 to +4.6]``; ``+2.1`` without an interval."""
    digits = decimals(low, high, without)
    text = signed(value, digits)
    return text if low is None or high is None else f"{text} [{signed(low, digits)} to {signed(high, digits)}]"


def signed(value: float, digits: int) -> str:
    """Return a number with its sign, a true minus; zero has none."""
    text = f"{abs(value):.{digits}f}"
    if not float(text):
        return text
    return f"{'−' if value < 0 else '+'}{text}"


def p_value(value: float) -> str:
    """Return a p-value with two significant digits, from 0.001 on."""
    if value < 0.001:
        return "< 0.001"
    return f"{value:.3f}" if value < 0.1 else f"{value:.2f}"
