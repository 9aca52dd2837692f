"""Folder adapter: one source per video file, people from paths; also folders of FOMM's face crops."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path, PurePath

from pydantic import ValidationError

from deepfakemnist.config.sheets import SourceRow
from deepfakemnist.errors import ConfigError
from deepfakemnist.ids import DEVICES, check_id, same_file_name
from deepfakemnist.sources.sheets import Sheet, refusal
from deepfakemnist.sources.video_files import VIDEO_SUFFIXES, describe_left_aside, find_videos


def read_folder(folder: Path, pattern: str, person_from: str | None, cropped: bool = False) -> Sheet:
    """Return a row for every video below a folder, sorted by path.

    The video_id is the path below the folder without suffix, as far as an id may hold it; with the suffix where two
    files differ in nothing else, and with a hash where they differ in case alone. Files left aside are counted; those
    that hide a video are refused rows.

    Args:
        folder: root folder.
        pattern: glob below it.
        person_from: regular expression on the path below the folder; its group ``person`` is the person_id. None takes
            the first folder below the root, and the file name where there is none, for crops always; both up to the
            first '#'.
        cropped: the videos are face crops, named person#video#start#end.mp4 in folders train and test.

    Raises: ConfigError for an invalid folder, pattern or expression, when no video is found, or when ``person_from`` is
        None and a single folder below the root holds all videos, whose name would be the only person.
    """
    if not folder.is_dir():
        raise ConfigError(f"sources.folder: {str(folder)!r} is not a folder")
    person_of = _expression(person_from) if person_from else _person_of_file if cropped else _person_of_path
    search = find_videos(folder, pattern, files_once=True)
    paths = [path.relative_to(folder) for path in search.videos]
    if not paths:
        aside = describe_left_aside(search.left_aside)
        raise ConfigError(
            f"sources.folder: no video below {str(folder)!r} matches {pattern!r}; looked for {sorted(VIDEO_SUFFIXES)}"
            + (f". Left aside: {aside}" if aside else "")
        )
    if not person_from and not cropped:
        _check_one_folder(folder, paths)
    sheet = Sheet(
        left_aside=search.left_aside, person_rule=_rule(person_from, cropped), person_stated=bool(person_from)
    )
    sheet.refused = [
        refusal(aside.path, f"{folder / aside.path}: {aside.detail}", reason=aside.reason)
        for aside in search.left_aside
        if aside.hides_a_video
    ]
    namesakes = Counter(path.with_suffix("") for path in paths)
    names = {path: (path if namesakes[path.with_suffix("")] > 1 else path.with_suffix("")).as_posix() for path in paths}
    file_names = Counter(same_file_name(id_from(name)) for name in names.values())
    for relative in paths:
        person = person_of(relative)
        if person is None:
            sheet.refused.append(
                refusal(relative.as_posix(), f"sources.person_from {person_from!r} finds no person in this path")
            )
            continue
        name, video_id = names[relative], id_from(names[relative])
        if file_names[same_file_name(video_id)] > 1:
            video_id = _hashed_id(name)
        try:
            row = SourceRow(video_id=video_id, path=str(folder / relative), person_id=id_from(person))
        except ValidationError as error:
            why = error.errors()[0]["msg"].removeprefix("Value error, ")
            sheet.refused.append(refusal(relative.as_posix(), f"{folder / relative}: {why}", reason="bad_name"))
            continue
        sheet.rows.append({**row.to_row(), "adapter": "folder", "cropped": cropped})
    if not sheet.rows:
        raise ConfigError(
            f"sources.person_from: {person_from!r} finds a person in none of the {len(paths)} paths below "
            f"{str(folder)!r}, such as {paths[0].as_posix()!r}"
        )
    return sheet


def id_from(name: str) -> str:
    """Return a valid id for a file name; a short hash keeps it unique when characters had to be replaced."""
    try:
        return check_id(name)
    except ValueError:
        return _hashed_id(name)


def _hashed_id(name: str) -> str:
    clean = re.sub(r"\.{2,}", "_", re.sub(r"[^A-Za-z0-9._#-]", "_", name)).lstrip(".-") or "_"
    if clean.partition(".")[0].upper() in DEVICES:
        clean = f"_{clean}"
    return check_id(f"{clean[:80]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}")


def _person_of_file(path: PurePath) -> str:
    return path.stem.partition("#")[0] or path.stem


def _person_of_path(path: PurePath) -> str:
    first = path.parts[0]
    return (first.partition("#")[0] or first) if len(path.parts) > 1 else _person_of_file(path)


def _expression(text: str) -> Callable[[PurePath], str | None]:
    """Return a function from a path to the group person of the expression, None where it finds none."""
    try:
        expression = re.compile(text)
    except re.error as error:
        raise ConfigError(f"sources.person_from: {text!r} is not a regular expression: {error}") from error
    if "person" not in expression.groupindex:
        raise ConfigError(f"sources.person_from: {text!r} has no group named person, written (?P<person>…)")
    # An optional group may take no part in the match, or match nothing.
    return lambda path: (found := expression.search(path.as_posix())) and (found["person"] or None)


def _rule(person_from: str | None, cropped: bool) -> str:
    if person_from:
        return f"sources.person_from {person_from!r}"
    return "file name up to '#'" if cropped else "first folder below sources.folder; without one, file name up to '#'"


def _check_one_folder(folder: Path, paths: list[Path]) -> None:
    firsts = {path.parts[0] if len(path.parts) > 1 else "" for path in paths}
    if len(paths) > 1 and firsts != {""} and len(firsts) == 1:
        (first,) = firsts
        raise ConfigError(
            f"sources.folder: all {len(paths)} videos below {str(folder)!r} are in {first!r}, so they would all count "
            f"as one person of that name. If its folders or files are people, set sources.folder: {folder / first}; "
            "if it is one person, set sources.person_from: '^(?P<person>[^/]+)/'; for other layouts see person_from "
            "in config/README.md"
        )
