"""Crash-safe JSON files, on local disks and network file systems alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from deepfakemnist.tables.files import atomic_path


class DamagedFile(Exception):
    """A JSON file, or a ZIP file of some, is empty, cut short or altered; the message names it."""

    def __init__(self, path: Path, what: str = "it holds no JSON object") -> None:
        super().__init__(f"{path} is damaged: {what}")
        self.path = path


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a JSON object atomically, name and contents flushed to the disk: it may record money."""
    # What was paid for is written wherever there is room; whoever asks next finds out that there is too little.
    with atomic_path(path, into_reserve=True) as part, part.open("w", encoding="utf-8") as file:
        json.dump(value, file, sort_keys=True, allow_nan=False)


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in a file; None if the file does not exist. Raises: DamagedFile."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError):
        raise DamagedFile(path) from None
    if not isinstance(value, dict):
        raise DamagedFile(path)
    return value
