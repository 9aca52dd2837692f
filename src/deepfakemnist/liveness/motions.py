"""Motion sheet: the motion requested from each vendor per action, kept as data because vendors differ."""

from __future__ import annotations

import re
from pathlib import Path

from deepfakemnist.config.base import ACTIONS
from deepfakemnist.errors import ConfigError
from deepfakemnist.tables.tsv import Lines

#: Motions that a vendor accepts: digits for Baidu, space-separated words for the others.
_ALLOWED: dict[str, tuple[str, str]] = {
    "baidu": (r"[0457]", "0 blink, 4 look up, 5 head down, 7 turn left and right"),
    "tianyan": (r"[A-Z]+( [A-Z]+)*", "words such as BLINK, MOUTH, NOD, YAW"),
    "linkface": (r"(BLINK|MOUTH|NOD|YAW)( (BLINK|MOUTH|NOD|YAW))*", "BLINK, MOUTH, NOD, YAW"),
}


def read_motions(path: Path, provider: str) -> dict[str, str]:
    """Return action → motion requested from ``provider`` (empty: passive); an empty dict if it takes no motions.

    Args:
        path: TSV with a column ``action`` that lists every action once, and a column per vendor.
        provider: name of the provider; a column of the sheet if it takes motions.

    Raises:
        ConfigError: the sheet is invalid; names line, value and what is allowed.
    """
    if provider not in _ALLOWED:
        return {}
    lines = Lines(path, "liveness.motions")
    if "action" not in lines.columns or provider not in lines.columns:
        raise ConfigError(f"{path}: needs columns action and {provider}, found {lines.columns}")
    pattern, meaning = _ALLOWED[provider]
    motions: dict[str, str] = {}
    for line, row in lines:
        action, motion = row["action"], (row[provider] or "").strip()
        if action not in ACTIONS or action in motions:
            problem = "is listed twice" if action in motions else f"is not one of {', '.join(ACTIONS)}"
            raise ConfigError(f"{path}, line {line}: action {action!r} {problem}")
        if motion and not re.fullmatch(pattern, motion):
            raise ConfigError(f"{path}, line {line}: {provider} {motion!r} is not allowed; allowed are {meaning}")
        motions[action] = motion
    missing = [action for action in ACTIONS if action not in motions]
    if missing:
        raise ConfigError(f"{path}: missing actions: {', '.join(missing)}")
    return motions
