"""Who and what must not be in the dataset: a list of videos and people, honoured before anything is read of them.

The list is a tab-separated table with the columns ``video_id``, ``person_id`` and ``reason``; a line names a video or a
person. A person's name takes out every source and driver of theirs, hence every fake that would show or move them.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from deepfakemnist.errors import ConfigError
from deepfakemnist.sheets import Sheet, refusal
from deepfakemnist.tables import Row

_COLUMNS = ("video_id", "person_id", "reason")


@dataclass(frozen=True)
class Exclusions:
    """Reason by excluded video and by excluded person."""

    videos: dict[str, str] = field(default_factory=dict)
    people: dict[str, str] = field(default_factory=dict)

    def reason_for(self, row: Row) -> str | None:
        """Return why a row of any table may not be there, or None.

        Looks at every column that names a video or a person: video_id, source_id, driver_id, person_id and
        driver_person_id.
        """
        for column, listed in (
            *((name, self.videos) for name in ("video_id", "source_id", "driver_id")),
            *((name, self.people) for name in ("person_id", "driver_person_id")),
        ):
            if row.get(column) in listed:
                return f"{column} {row[column]}: {listed[row[column]] or 'no reason given'}"
        return None

    def violations(self, rows: Iterable[Row]) -> list[str]:
        """Return a line for every row that the list forbids; an empty list is the proof that it was honoured."""
        return [why for row in rows if (why := self.reason_for(row)) is not None]


def read_exclusions(path: Path) -> Exclusions:
    """Read the list. Raises ConfigError naming file and line."""
    exclusions = Exclusions()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            columns = reader.fieldnames or []
            if not {"video_id", "person_id"} & set(columns) or set(columns) - set(_COLUMNS):
                raise ConfigError(
                    f"{path} line 1: the header has {list(columns)}; allowed are {list(_COLUMNS)}, separated by tabs, "
                    "with video_id or person_id among them"
                )
            for row in reader:
                video, person = ((row.get(name) or "").strip() for name in _COLUMNS[:2])
                if bool(video) == bool(person):
                    raise ConfigError(f"{path} line {reader.line_num}: name a video_id or a person_id, one of them")
                (exclusions.videos if video else exclusions.people)[video or person] = (row.get("reason") or "").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"sources.exclude: cannot read {path}: {error}") from error
    return exclusions


def without_excluded(sheet: Sheet, path: Path, kind: str = "source") -> Sheet:
    """Return a sheet without what the list at ``path`` excludes; that becomes refused rows with reason excluded."""
    exclusions = read_exclusions(path)
    kept = Sheet(refused=list(sheet.refused))
    for row in sheet.rows:
        why = exclusions.reason_for(row)
        if why is None:
            kept.rows.append(row)
        else:
            kept.refused.append(refusal(row["video_id"], f"{path}: {why}", reason="excluded", kind=kind, row=row))
    if not kept.rows:
        raise ConfigError(f"sources.exclude: {path} excludes every {kind}")
    return kept
