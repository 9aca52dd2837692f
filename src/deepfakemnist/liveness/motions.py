"""Which motion each vendor is asked for when a clip shows an action: data, in a sheet, because vendors differ."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from deepfakemnist.config.base import ACTIONS
from deepfakemnist.errors import ConfigError

#: What a vendor may be asked for: Baidu's digits, and the words of the others, space-separated where they are several.
_ALLOWED: dict[str, tuple[str, str]] = {
    "baidu": (r"[0457]", "0 blink, 4 look up, 5 head down, 7 turn left and right"),
    "tianyan": (r"[A-Z]+( [A-Z]+)*", "words such as BLINK, MOUTH, NOD, YAW"),
    "linkface": (r"(BLINK|MOUTH|NOD|YAW)( (BLINK|MOUTH|NOD|YAW))*", "BLINK, MOUTH, NOD, YAW"),
}


def read_motions(path: Path, provider: str) -> dict[str, str]:
    """Return action → motion that ``provider`` is asked for, empty for none; nothing for one that asks for none.

    Args:
        path: TSV with a column ``action``, every action once, and a column per vendor.
        provider: name of the provider, a column of the sheet if it is a vendor that commands motions.

    Raises:
        ConfigError: names line, value and what is allowed.
    """
    if provider not in _ALLOWED:
        return {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
    except OSError as error:
        raise ConfigError(f"liveness.motions: cannot read {path} ({error.strerror})") from error
    columns = list(rows[0]) if rows else []
    if "action" not in columns or provider not in columns:
        raise ConfigError(f"{path}: columns action and {provider} are wanted, found {columns}")
    pattern, meaning = _ALLOWED[provider]
    motions: dict[str, str] = {}
    for line, row in enumerate(rows, start=2):
        action, motion = row["action"], (row[provider] or "").strip()
        if action not in ACTIONS or action in motions:
            problem = "is there twice" if action in motions else f"is not one of {', '.join(ACTIONS)}"
            raise ConfigError(f"{path}, line {line}: action {action!r} {problem}")
        if motion and not re.fullmatch(pattern, motion):
            raise ConfigError(f"{path}, line {line}: {provider} {motion!r} is not allowed; it takes {meaning}")
        motions[action] = motion
    missing = [action for action in ACTIONS if action not in motions]
    if missing:
        raise ConfigError(f"{path}: no line for {', '.join(missing)}")
    return motions
