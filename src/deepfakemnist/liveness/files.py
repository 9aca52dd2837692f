"""Crash-safe JSON files, on local disks and network file systems alike."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from deepfakemnist.tables.files import atomic_path


def write_json(path: Path, value: Any) -> None:
    """Write a value atomically and flush it to disk before returning, because it may have cost money."""
    with atomic_path(path) as part, part.open("w", encoding="utf-8") as file:
        json.dump(value, file, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())


def read_json(path: Path) -> Any | None:
    """Return the value stored in a file; None if the file does not exist."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
