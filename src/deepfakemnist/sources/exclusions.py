"""Exclusion list of videos and people (takedowns, missing consent), applied before any of their videos is read.

The list is a tab-separated table with the columns ``video_id``, ``person_id`` and ``reason``. A person_id removes all
of their sources and drivers, hence every fake that would show or use them. A video_id removes the row with that id and,
where ids are built like VoxCeleb's (person#video#…), every segment of the video.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from deepfakemnist.errors import ConfigError
from deepfakemnist.ids import PAIR_SEPARATOR, check_id
from deepfakemnist.sources.sheets import Sheet, refusal
from deepfakemnist.tables.schemas import Row
from deepfakemnist.tables.tsv import Lines

_COLUMNS = ("video_id", "person_id", "reason")


@dataclass(frozen=True)
class Exclusions:
    """Reasons by excluded video and by excluded person."""

    videos: dict[str, str] = field(default_factory=dict)
    people: dict[str, str] = field(default_factory=dict)

    def reason_for(self, row: Row) -> str | None:
        """Return why a row of any table is excluded, or None.

        Checks every column that names a video or a person: video_id, source_id, driver_id, real_id, fake_id,
        person_id and driver_person_id.
        """
        for column in ("video_id", "source_id", "driver_id", "real_id", "fake_id"):
            for name in _videos_in(row.get(column) or ""):
                if name in self.videos:
                    return f"{column} {row[column]}: {self.videos[name] or 'no reason given'}"
        for column in ("person_id", "driver_person_id"):
            if row.get(column) in self.people:
                return f"{column} {row[column]}: {self.people[row[column]] or 'no reason given'}"
        return None

    def violations(self, rows: Iterable[Row]) -> list[str]:
        """Return a line per row that the list excludes; an empty list proves compliance."""
        return [why for row in rows if (why := self.reason_for(row)) is not None]


def read_exclusions(path: Path, key: str = "sources.exclude") -> Exclusions:
    """Read an exclusion list.

    Args:
        path: the table, UTF-8.
        key: the config key of the path, for messages.

    Raises: ConfigError with file and line, also for a line without an id or with an invalid one: a misread list would
        leave somebody in.
    """
    if not path.is_file():
        raise ConfigError(f"{key}: {str(path)!r} is not a file")
    exclusions, lines = Exclusions(), Lines(path, key)
    if not {"video_id", "person_id"} & set(lines.columns) or set(lines.columns) - set(_COLUMNS):
        raise ConfigError(
            f"{path} line 1: the columns are {', '.join(_COLUMNS)}, not {', '.join(lines.columns)}; video_id or "
            "person_id is required, and tabs separate the columns"
        )
    for line, row in lines:
        where = f"{path} line {line}"
        video, person, reason = ((row.get(name) or "").strip() for name in _COLUMNS)
        if not video and not person:
            raise ConfigError(f"{where}: names neither a video_id nor a person_id")
        for name, listed in ((video, exclusions.videos), (person, exclusions.people)):
            if name:
                listed[_checked(name, where)] = reason
    return exclusions


def without_excluded(sheet: Sheet, path: Path, kind: str = "source") -> Sheet:
    """Return a sheet whose rows excluded by the list at ``path`` are refused rows with reason excluded."""
    exclusions = read_exclusions(path)
    kept = replace(sheet, rows=[], refused=list(sheet.refused))
    for row in sheet.rows:
        why = exclusions.reason_for(row)
        if why is None:
            kept.rows.append(row)
        else:
            kept.refused.append(refusal(row["video_id"], f"{path}: {why}", reason="excluded", kind=kind, row=row))
    if not kept.rows:
        raise ConfigError(f"sources.exclude: {path} excludes every {kind}")
    return kept


def _videos_in(name: str) -> Iterable[str]:
    """Yield the ids that a row's id refers to: itself, source and driver of a fake, the video in person#video#…"""
    if name:
        yield name
        for part in name.split(PAIR_SEPARATOR):
            yield part
            yield from part.split("#")[1:2]


def _checked(name: str, where: str) -> str:
    try:
        for part in name.split(PAIR_SEPARATOR):
            check_id(part.lstrip("-") or part)  # published video names may begin with a dash, ids here may not
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None
    return name
