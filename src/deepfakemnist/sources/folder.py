"""Folder adapter: one source per video file, ids from file names; also folders of face crops as FOMM writes them."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from deepfakemnist.config.sheets import SourceRow
from deepfakemnist.errors import ConfigError
from deepfakemnist.ids import ID_MAX_LENGTH, check_id
from deepfakemnist.sources.sheets import VIDEO_SUFFIXES, Sheet, refusal

#: The first folder, or the file name up to a '#'.
PERSON_OF_PATH = r"^(?P<person>[^#/]+)"
#: Crops are named person#video#start#end.mp4 in folders train and test, which are not people.
PERSON_OF_CROP = r"(?P<person>[^#/]+)[^/]*$"


def read_folder(folder: Path, pattern: str, person_from: str | None, cropped: bool = False) -> Sheet:
    """Return a row for every video below a folder, sorted by path.

    Args:
        folder: root folder.
        pattern: glob below it.
        person_from: regular expression on the path below the folder; its group ``person`` is the person_id. None takes
            the first part of the path, or of the file name for crops.
        cropped: the videos are face crops.

    Raises: ConfigError for an invalid folder or expression, or when no video is found.
    """
    if not folder.is_dir():
        raise ConfigError(f"sources.folder: {str(folder)!r} is not a folder")
    person = _expression(person_from or (PERSON_OF_CROP if cropped else PERSON_OF_PATH))
    sheet = Sheet()
    for path in video_files(folder, pattern):
        relative = path.relative_to(folder)
        found = person.search(relative.as_posix())
        if found is None:
            sheet.refused.append(
                refusal(relative.as_posix(), f"sources.person_from {person.pattern!r} finds no person in this path")
            )
            continue
        row = SourceRow(
            video_id=id_from(relative.with_suffix("").as_posix()), path=str(path), person_id=id_from(found["person"])
        )
        sheet.rows.append({**row.to_row(), "adapter": "folder", "cropped": cropped})
    if not sheet.rows:
        raise ConfigError(
            f"sources.folder: no video below {str(folder)!r} matches {pattern!r}; looked for {sorted(VIDEO_SUFFIXES)}"
        )
    return sheet


def video_files(folder: Path, pattern: str = "**/*") -> list[Path]:
    """Return the videos below a folder, by suffix, sorted, without hidden files."""
    return [
        path
        for path in sorted(folder.glob(pattern))
        if path.suffix.lower() in VIDEO_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    ]


def id_from(name: str) -> str:
    """Return a valid id for a file name; a short hash keeps it unique when characters had to be replaced."""
    clean = re.sub(r"\.{2,}", "_", re.sub(r"[^A-Za-z0-9._#-]", "_", name)).lstrip(".-") or "_"
    if clean == name and len(clean) <= ID_MAX_LENGTH:
        return check_id(clean)
    return check_id(f"{clean[:80]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}")


def _expression(text: str) -> re.Pattern[str]:
    try:
        expression = re.compile(text)
    except re.error as error:
        raise ConfigError(f"sources.person_from: {text!r} is not a regular expression: {error}") from error
    if "person" not in expression.groupindex:
        raise ConfigError(f"sources.person_from: {text!r} has no group named person, written (?P<person>…)")
    return expression
