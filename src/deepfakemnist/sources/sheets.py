"""Sample sheets: tab-separated tables of sources and drivers, validated with line numbers in every error."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from deepfakemnist.config.sheets import DriverRow, SourceRow
from deepfakemnist.errors import ConfigError
from deepfakemnist.ids import same_file_name
from deepfakemnist.sources.video_files import LeftAside
from deepfakemnist.tables.schemas import Row
from deepfakemnist.tables.tsv import Lines

_MAX_LISTED = 20


@dataclass
class Sheet:
    """The rows to process, and the rows refused with a reason (where the settings allow refusal)."""

    rows: list[Row] = field(default_factory=list)
    refused: list[Row] = field(default_factory=list)
    left_aside: list[LeftAside] = field(default_factory=list)  # of a searched folder
    person_rule: str = "column person_id"  # where person_id comes from
    person_stated: bool = True  # by the user, rather than by a default of this project


def read_drivers(path: Path) -> Sheet:
    """Read the driver sheet; every row must be valid, because each one drives a thousand fakes."""
    return read_sheet(path, DriverRow, keep_going=False)


def read_sheet(path: Path, model: type[SourceRow] | type[DriverRow], keep_going: bool) -> Sheet:
    """Read a tab-separated sheet with a header line.

    Args:
        path: the sheet, UTF-8.
        model: schema of a line.
        keep_going: an invalid line becomes a refused row instead of an error.

    Raises: ConfigError for an unreadable sheet, wrong columns, duplicate ids, ids that differ in case alone or, unless
        ``keep_going``, an invalid line.
    """
    key = "video_id" if model is SourceRow else "driver_id"
    table = Lines(path, "sheet")
    _check_columns(path, table.columns, model)

    sheet, problems, lines = Sheet(), list[str](), dict[str, tuple[int, str]]()
    if "person_id" not in table.columns:
        sheet.person_rule, sheet.person_stated = "video_id up to '#', as the sheet has no column person_id", False
    for line, raw in table:
        values = {name: value for name, value in raw.items() if name is not None and value}
        name = values.get(key, "").strip()
        try:
            if None in raw:
                raise ValueError(f"has more than the {len(table.columns)} columns of the header")
            row = model.model_validate(values).to_row()
        except ValueError as error:
            message = f"{path} line {line}: {_explain(error, key)}"
            if keep_going:
                # The line number keeps the name unique.
                sheet.refused.append(refusal(f"{name} (line {line})".strip(), message))
            else:
                problems.append(message)
            continue
        if (file_name := same_file_name(name)) in lines:
            before, other = lines[file_name]
            problems.append(
                f"{path} line {line}: {key} {name!r} is already on line {before}; ids must be unique"
                if other == name
                else f"{path} line {line}: {key} {name!r} differs from {other!r} on line {before} in case alone, and "
                "where case does not count (macOS, Windows) both are one file: rename one"
            )
        lines[file_name] = line, name
        row["path"] = str(path.parent / row["path"])
        sheet.rows.append(row)
    if problems:
        more = f"\n… and {len(problems) - _MAX_LISTED} more" if len(problems) > _MAX_LISTED else ""
        raise ConfigError("\n".join(problems[:_MAX_LISTED]) + more)
    if not sheet.rows:
        raise ConfigError(f"{path} has no usable line below its header")
    return sheet


def missing_files(rows: Iterable[Row]) -> list[str]:
    """Return the paths of rows whose file does not exist."""
    return [row["path"] for row in rows if not Path(row["path"]).is_file()]


def _check_columns(path: Path, columns: Any, model: type[BaseModel]) -> None:
    known = list(model.model_fields)
    required = [name for name, info in model.model_fields.items() if info.is_required()]
    wrong = [name for name in columns if name not in known]
    lacking = [name for name in required if name not in columns]
    if wrong or lacking or len(set(columns)) != len(columns):
        raise ConfigError(
            f"{path} line 1: the header has {list(columns)}; required are {required}, "
            f"also known {sorted(set(known) - set(required))}"
            + (f"; not known: {wrong}" if wrong else "")
            + (f"; missing: {lacking}" if lacking else "")
            + ". Columns are separated by tabs."
        )


def _explain(error: ValueError, key: str) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    parts = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"]) or key
        value = (
            ""
            if problem["type"] == "missing"
            else f" {problem['input']!r}:"
            if not isinstance(problem["input"], dict)
            else ""
        )
        parts.append(f"{where}:{value} {problem['msg'].removeprefix('Value error, ')}")
    return "; ".join(parts)


def refusal(
    name: str, message: str, reason: str = "bad_sheet_row", kind: str = "source", row: Row | None = None
) -> Row:
    """Return the ledger row of an entry refused before ingest; ``row`` gives person and action where known."""
    known = row or {}
    # A file name may hold bytes that are no text, which no table can store.
    name, message = (text.encode("utf-8", "backslashreplace").decode() for text in (name, message))
    return {
        "kind": kind, "video_id": name, "person_id": known.get("person_id", ""), "action": known.get("action", ""),
        "stage": "sheet", "status": "rejected", "reason": reason, "detail": message,
    }  # fmt: skip
