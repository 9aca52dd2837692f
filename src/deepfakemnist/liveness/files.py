"""Small JSON files that outlive a crash, on local disks and network file systems alike."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from deepfakemnist.tables.files import atomic_path


def write_json(path: Path, value: Any) -> None:
    """Write a value, whole or not at all; it is on the disk when this returns, because it may have cost money."""
    with atomic_path(path) as part, part.open("w", encoding="utf-8") as file:
        json.dump(value, file, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())


def read_json(path: Path) -> Any | None:
    """Return the value of a file; None when there is no such file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
