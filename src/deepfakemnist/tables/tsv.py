"""Atomic, deterministic TSV output of result tables.

The same rows give the same bytes.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from deepfakemnist.tables.files import atomic_path
from deepfakemnist.tables.schemas import Row


def write_tsv(path: Path | str, columns: Sequence[str], rows: Iterable[Row]) -> None:
    """Write a header line and rows. None becomes an empty cell, floats have six significant digits.

    Raises: ValueError for a row with a column not in ``columns``, KeyError for a row that lacks one.
    """
    with atomic_path(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            if unknown := row.keys() - set(columns):
                raise ValueError(f"columns {sorted(unknown)} are not in {path}: {list(columns)}")
            writer.writerow([_cell(row[name]) for name in columns])


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
