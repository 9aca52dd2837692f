"""Strict reading of vendors' JSON: what is not exactly of the documented type decides nothing.

A clip is live only by a documented value. ``"false"`` is true in Python, ``true`` is a number, and NaN is neither above
nor below a threshold; each would accept a fake that nobody classified.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from deepfakemnist.errors import Failed

#: Number of an exchange in a vendor's own log: Baidu's two envelopes, Linkface, Jumdata.
_LOG_ID = re.compile(r'"(?:log_id|serverlogid|request_id|taskNo)"\s*:\s*"?([A-Za-z0-9._-]{1,64})')
_SHOWN, _MESSAGE = 60, 200


class Unreadable(Failed):
    """A response that was paid for and from which no verdict follows; it is kept and not requested again."""

    def __init__(self, what: str) -> None:
        super().__init__("answer_unreadable", what)


def parse_object(text: str) -> dict[str, Any] | None:
    """Return the JSON object in a response; None if it holds none.

    NaN, infinities and numbers beyond float64 become text, and a name that occurs twice gets the values of both as
    text: nobody knows which one the vendor means, and strict readers refuse text.
    """
    try:
        value = json.loads(text, parse_constant=str, parse_float=_finite_or_text, object_pairs_hook=_unambiguous_object)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def number(container: Mapping[str, Any], name: str, low: float = 0.0, high: float = 1.0) -> float:
    """Return a finite number between ``low`` and ``high``. Raises: Unreadable."""
    value = container.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise Unreadable(f"{name} is {shown(value)}, not a number from {low:g} to {high:g}")
    return float(value)


def truth(container: Mapping[str, Any], name: str) -> bool:
    """Return true or false. Raises: Unreadable."""
    value = container.get(name)
    if not isinstance(value, bool):
        raise Unreadable(f"{name} is {shown(value)}, not true or false")
    return value


def mapping(container: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return an object. Raises: Unreadable."""
    value = container.get(name)
    if not isinstance(value, dict):
        raise Unreadable(f"{name} is {shown(value)}, not an object")
    return value


def objects(container: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Return a list of objects; an empty one where the name is missing or null. Raises: Unreadable."""
    value = container.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise Unreadable(f"{name} is {shown(value)}, not a list of objects")
    return value


def integer(value: Any) -> int | None:
    """Return an integer; None for anything else, true and false included."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def shown(value: Any) -> str:
    """Return a JSON value as short printable ASCII, for messages."""
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def printable(text: Any) -> str:
    """Return a vendor's text for messages and tables: short, on one line, and valid UTF-8."""
    line = " ".join(str(text).encode("utf-8", "backslashreplace").decode().split())
    return line if len(line) <= _MESSAGE else f"{line[:_MESSAGE]}…"


def find_log_id(text: str) -> str:
    """Return the vendor's own number of an exchange in a response, even one that is cut off; empty if there is none."""
    found = _LOG_ID.search(text)
    return found[1] if found else ""


def _finite_or_text(text: str) -> float | str:
    value = float(text)
    return value if math.isfinite(value) else text


def _unambiguous_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        for name in found:
            values = [value for other, value in pairs if other == name]
            if len(values) > 1:
                found[name] = f"given {len(values)} times: {json.dumps(values)}"
    return found
