"""Versions of input files: changed content, recognised whatever the time stamp says.

A table that was made from files holds the size, times and sha256 of each in its metadata. As long as size and times are
the same, so is the content, and nothing is read; where they differ, the sha256 decides. The time of the last change of
the inode counts too, because ``cp -p``, ``rsync -t`` and archives set the time of modification.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from deepfakemnist.tables.checksums import file_facts
from deepfakemnist.tables.files import read_metadata

#: Key of a table's metadata with the versions of the files it was made from.
FILE_VERSIONS = "file_versions"


class FileStat(NamedTuple):
    """Size and times of a file, which are the same as long as nobody touches it."""

    bytes: int
    mtime_ns: int
    ctime_ns: int

    def __str__(self) -> str:
        return f"{self.bytes} bytes, {self.mtime_ns}, {self.ctime_ns}"


class FileVersion(NamedTuple):
    """Size, times and sha256 of a file."""

    stat: FileStat
    sha256: str


def stat_of(path: Path | str) -> FileStat | None:
    """Return size and times of a file, or None if there is no such file."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return FileStat(found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def sha256_of(path: Path | str) -> str:
    """Return the sha256 of a file; empty if it cannot be read, which fails the row of whoever needs it."""
    try:
        return file_facts(path).sha256
    except OSError:
        return ""


def versions_of(paths: Iterable[str]) -> dict[str, FileVersion]:
    """Return path → version of every file that exists, each read once."""
    versions: dict[str, FileVersion] = {}
    for path in dict.fromkeys(paths):
        # Stat first: a file written meanwhile then has other times than recorded, and is read again.
        if (stat := stat_of(path)) is not None:
            versions[path] = FileVersion(stat, sha256_of(path))
    return versions


def sha256_in(versions: dict[str, FileVersion], path: str | None) -> str | None:
    """Return the sha256 of one of the files, or None if there is no such file."""
    return versions[path].sha256 if path in versions else None


def to_metadata(versions: dict[str, FileVersion]) -> dict[str, str]:
    """Return the metadata of a table that was made from these files."""
    return {FILE_VERSIONS: json.dumps({path: [*one.stat, one.sha256] for path, one in versions.items()})}


def recorded_versions(table: Path) -> dict[str, FileVersion]:
    """Return path → version of the files that a table was made from; empty without a readable table that says so."""
    try:
        content = json.loads(read_metadata(table).get(FILE_VERSIONS, "{}"))
        return {path: FileVersion(FileStat(*stat), sha256) for path, (*stat, sha256) in content.items()}
    except (OSError, ValueError, TypeError):  # pyarrow's errors are ValueErrors
        return {}
