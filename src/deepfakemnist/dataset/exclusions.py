"""Who is left out of a release: those named on the exclusion list, and all that was made from or with them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from deepfakemnist.errors import ConfigError
from deepfakemnist.ids import check_id
from deepfakemnist.tables import Row

_COLUMNS = ("video_id", "person_id", "reason")


class Exclusions(NamedTuple):
    """Videos and people that asked to be left out, or must be."""

    videos: frozenset[str] = frozenset()
    people: frozenset[str] = frozenset()

    def hit(self, row: Row) -> bool:
        """Is a row of ``tables.VIDEOS`` one of them, or made from or with one of them?"""
        ids = {row["video_id"], row["source_id"], row["driver_id"]}
        return bool(ids & self.videos) or bool({row["person_id"], row["driver_person_id"]} & self.people)


def read_exclusions(path: Path | None) -> Exclusions:
    """Read an exclusion list.

    Args:
        path: TSV with the columns video_id, person_id and reason; each line names a video or a person. None: nobody.

    Raises: ConfigError for a missing file, other columns, or a line that names neither or no possible id: a list that
        is misread leaves somebody in.
    """
    if path is None:
        return Exclusions()
    if not path.is_file():
        raise ConfigError(f"release.exclusions: {str(path)!r} is not a file")
    videos: set[str] = set()
    people: set[str] = set()
    with path.open(encoding="utf-8", newline="") as file:
        lines = csv.DictReader(file, delimiter="\t", strict=True)
        if set(lines.fieldnames or ()) != set(_COLUMNS):
            raise ConfigError(f"{path}: the columns are {', '.join(_COLUMNS)}, not {', '.join(lines.fieldnames or ())}")
        for number, line in enumerate(lines, start=2):
            named = [line["video_id"] or "", line["person_id"] or ""]
            if not any(named):
                raise ConfigError(f"{path}, line {number}: names neither a video_id nor a person_id")
            for value, into in zip(named, (videos, people), strict=True):
                if value:
                    into.add(_checked(value, path, number))
    return Exclusions(frozenset(videos), frozenset(people))


def leave_out(videos: Sequence[Row], exclusions: Exclusions, require_licence: bool) -> tuple[list[Row], int]:
    """Return the rows that may be released, and how many videos may not."""
    kept, gone = [], set()
    for row in videos:
        if exclusions.hit(row) or (require_licence and not row["licence"]):
            gone.add(row["video_id"])
        else:
            kept.append(row)
    return kept, len(gone)


def _checked(value: str, path: Path, number: int) -> str:
    try:
        for part in value.split("@"):  # a fake is source@driver
            check_id(part)
    except ValueError as error:
        raise ConfigError(f"{path}, line {number}: {error}") from None
    return value
