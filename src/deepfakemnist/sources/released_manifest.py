"""Manifest of a release that others made, checked before any of its names becomes a file name or a line of a page.

Whoever publishes a dataset writes its table, so every value is refused that this project's own release cannot hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from deepfakemnist.config.base import SPLITS
from deepfakemnist.errors import ConfigError
from deepfakemnist.ids import CONTROL_CHARACTERS, check_id, check_video_id
from deepfakemnist.tables.dataset_schemas import RELEASED_VIDEOS
from deepfakemnist.tables.files import read_table
from deepfakemnist.tables.schemas import Row

TABLE = "manifest/videos.parquet"
_REQUIRED = ("video_id", "label", "quality", "split", "person_id", "source_id", "path")
#: A quality's encoder arguments and a fake's liveness verdicts are the longest texts of a release, about 2 kB.
_MAX_TEXT, _MAX_PATH, _MAX_NAME = 100_000, 1000, 255
_MAX_LISTED = 20


def read_manifest(folder: Path) -> list[Row]:
    """Return the videos of a release, columns of ``RELEASED_VIDEOS``; ``path`` is below ``folder``.

    Raises: ConfigError that lists the first rows with an id, quality, split, label, action, path or text that no
        release may hold, a column of another type, or a video and quality listed twice.
    """
    table = folder / TABLE
    rows = _typed(table).to_pylist()
    problems = [f"row {number}, {problem}" for number, row in enumerate(rows, 1) for problem in _problems_of(row)]
    problems += _contradictions(rows)
    if problems:
        more = f"\n… and {len(problems) - _MAX_LISTED} more" if len(problems) > _MAX_LISTED else ""
        raise ConfigError(
            f"{table}: nothing is imported, because these values are not a release's:\n"
            + "\n".join(problems[:_MAX_LISTED])
            + more
        )
    return [{**row, "path": str(folder / row["path"])} for row in rows]


def _typed(table: Path) -> pa.Table:
    """Return the known columns of the table in the types of a release; unknown columns are dropped."""
    try:
        content = read_table(table)
    except (pa.ArrowException, OSError) as error:  # e.g. a column that occurs twice
        raise ConfigError(f"{table}: cannot be read as a table of videos: {str(error).splitlines()[0]}") from error
    names = content.column_names
    if lacking := [name for name in _REQUIRED if name not in names]:
        raise ConfigError(f"{table}: columns {lacking} are missing; a release has {list(_REQUIRED)} and more")
    fields = [field for field in RELEASED_VIDEOS if field.name in names]
    columns = []
    for field in fields:
        try:
            columns.append(content.column(field.name).cast(field.type))
        except (pa.ArrowException, UnicodeDecodeError) as error:
            raise ConfigError(f"{table}: column {field.name} is not {field.type}: {error}") from error
    # Bytes that are no text pass a cast.
    made = pa.table(columns, schema=pa.schema(fields))
    try:
        made.validate(full=True)
    except pa.ArrowException as error:
        raise ConfigError(f"{table}: {error}") from error
    return made


def _problems_of(row: Row) -> Iterator[str]:
    for column, value in row.items():
        if value is None and column not in _REQUIRED:
            continue
        try:
            _CHECKS.get(column, _check_text)(value)
        except ValueError as error:
            yield f"{column} {_shown(value)}: {error}"


def _contradictions(rows: list[Row]) -> Iterator[str]:
    """Yield what two rows say differently of one video."""
    seen: dict[tuple[str, str], int] = {}
    first: dict[str, tuple[int, Row]] = {}
    for number, row in enumerate(rows, 1):
        key = (str(row["video_id"]), str(row["quality"]))
        if (before := seen.setdefault(key, number)) != number:
            yield f"row {number}: {_shown(key[0])} at {_shown(key[1])} is in row {before} already"
        before, other = first.setdefault(key[0].lower(), (number, row))
        for column in ("video_id", "label", "split", "person_id", "source_id"):
            if row[column] != other[column]:
                yield (
                    f"row {number}: {column} {_shown(row[column])} of {_shown(key[0])} is {_shown(other[column])} in "
                    f"row {before}, which is one file name where case does not count"
                )


def _shown(value: object) -> str:
    """Return a value for a message: a terminal shows it as text, whatever it holds."""
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def _check_text(value: Any) -> None:
    if isinstance(value, str):
        if len(value) > _MAX_TEXT:
            raise ValueError(f"has {len(value)} characters; at most {_MAX_TEXT} are allowed")
        if CONTROL_CHARACTERS.search(value):
            raise ValueError("control characters are not allowed")


def check_path(value: Any) -> None:
    """Raise ValueError unless a text is the path of a file below a folder, with ``/`` between its parts."""
    if not isinstance(value, str) or not value or len(value) > _MAX_PATH:
        raise ValueError(f"a path of 1 to {_MAX_PATH} characters is required")
    _check_text(value)
    parts = value.split("/")
    if "\\" in value or ":" in parts[0] or value != PurePosixPath(value).as_posix() or {"", ".", ".."} & set(parts):
        raise ValueError("must be relative to the release and stay in it, with '/' between its parts")
    if any(len(part.encode()) > _MAX_NAME for part in parts):
        raise ValueError(f"a name has more than {_MAX_NAME} bytes")


def _check_optional(check: Callable[[str], str]) -> Callable[[Any], None]:
    return lambda value: None if value == "" else _check_name(check)(value)


def _check_name(check: Callable[[str], str]) -> Callable[[Any], None]:
    def checked(value: Any) -> None:
        if not isinstance(value, str):
            raise ValueError("a name is required")
        check(value)

    return checked


def _one_of(*allowed: object) -> Callable[[Any], None]:
    def checked(value: Any) -> None:
        if value not in allowed:
            raise ValueError(f"allowed are {', '.join(map(repr, allowed))}")

    return checked


_CHECKS: dict[str, Callable[[Any], None]] = {
    "video_id": _check_name(check_video_id),
    "source_id": _check_name(check_video_id),
    "person_id": _check_name(check_video_id),
    "quality": _check_name(check_id),
    "driver_id": _check_optional(check_video_id),
    "driver_person_id": _check_optional(check_video_id),
    "action": _check_optional(check_id),
    "label": _one_of(0, 1),
    "split": _one_of(*SPLITS),
    "split_driver": _one_of(*SPLITS, ""),
    "split_paper": _one_of(*SPLITS, ""),
    "path": check_path,
}
