"""Delimited text tables: deterministic output of results, and input of tables that users and publishers write."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from deepfakemnist.errors import ConfigError
from deepfakemnist.tables.files import atomic_path
from deepfakemnist.tables.schemas import Row


def write_tsv(path: Path | str, columns: Sequence[str], rows: Iterable[Row]) -> None:
    """Write a header line and rows. None becomes an empty cell, floats have six significant digits.

    The same rows give the same bytes.

    Raises: ValueError for a row with a column not in ``columns``, KeyError for a row that lacks one.
    """
    with atomic_path(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            if unknown := row.keys() - set(columns):
                raise ValueError(f"columns {sorted(unknown)} are not in {path}: {list(columns)}")
            writer.writerow([_cell(row[name]) for name in columns])


def read_tsv(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table that :func:`write_tsv` wrote; every value is text, empty where there is none."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


class Lines:
    """Lines of a delimited table with a header, as dictionaries by column; cells beyond the header are under None.

    Args:
        path: the table, UTF-8 with or without byte order mark.
        what: how messages name the table, e.g. its config key.
        delimiter: between cells.
        quoting: of the module csv. QUOTE_NONE takes quotes for ordinary characters, since a file name may hold one.

    Attributes:
        columns: names in the header; empty for an empty table.

    Raises: ConfigError with file and line for a table that cannot be read: no such file, another encoding, a cell of
        more than 128 kB.
    """

    def __init__(self, path: Path, what: str, delimiter: str = "\t", quoting: Any = csv.QUOTE_NONE) -> None:
        self._path, self._what = path, what
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{what}: cannot read {path}: {error}") from error
        self._reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting)
        with_errors = self._naming_the_line(lambda: self._reader.fieldnames)
        self.columns = list(with_errors or ())

    def __iter__(self) -> Iterator[tuple[int, dict[Any, Any]]]:
        """Yield (line number, cells); the first line is 1, and blank lines are passed over."""
        while True:
            row = self._naming_the_line(lambda: next(self._reader, None))
            if row is None:
                return
            yield self._reader.line_num, row

    def _naming_the_line(self, read: Any) -> Any:
        try:
            return read()
        except csv.Error as error:
            line = self._reader.reader.line_num
            raise ConfigError(
                f"{self._what}: {self._path} line {line}: {error}. A cell holds at most "
                f"{csv.field_size_limit() // 1024} kB: is it the right file, with a tab or comma between the cells?"
            ) from error


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
