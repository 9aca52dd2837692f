"""Journals of finished videos: what a job has made of each, kept next to its table.

A journal outlives its table, which Snakemake deletes before it runs a job again, so that the job makes only what has
changed. An entry counts while the inputs, settings and code behind it are the same and its files are as large as
recorded. Videos that moved to another shard are found in the journal of the old one, and their files stay where they
are.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from zlib import crc32

from deepfakemnist.tables.files import atomic_path, sync_files
from deepfakemnist.tables.schemas import FAILED, OK, REJECTED, Row

log = logging.getLogger(__name__)

SUFFIX = ".journal"
#: Other journals of a stage that are searched for a video whatever their names; with more, related names only.
_SEARCHED = 64


@dataclass(frozen=True)
class Entry:
    """What one video became: the columns that the stage made, not those it copied from its input."""

    key: str
    #: Digest of everything that the rows depend on.
    mark: str
    made: list[Row]
    #: Size in bytes of every file that the rows name.
    files: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, key: str, mark: str, made: list[Row]) -> Entry:
        """Return the entry of a finished video, with the sizes of its files."""
        paths = [row["path"] for row in made if row["status"] == OK and row.get("path")]
        return cls(key, mark, made, {path: size for path in paths if (size := _size(path)) is not None})

    def is_whole(self) -> bool:
        """Return whether every file of the video is still there, as large as it was."""
        paths = {row["path"] for row in self.made if row["status"] == OK and row.get("path")}
        return paths == set(self.files) and all(_size(path) == size for path, size in self.files.items())


class Journal:
    """Journal of one table, synced to disk; a killed job loses at most the current video.

    A JSON line per video, which ends with the CRC-32 of the text before it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of_table(cls, table: Path) -> Journal:
        """Return the journal of a table."""
        return cls(table.with_name(table.name + SUFFIX))

    def read(self) -> dict[str, Entry]:
        """Return the last entry of every key. Lines that are no entries are left out, and a warning says how many.

        A kill leaves a partial last line, a failing disk or an editor anything else; their videos are made again.
        """
        try:
            lines = self.path.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return {}
        found = [_parse(line) for line in lines]
        if damaged := found.count(None):
            log.warning(
                "%s: %d of %d lines are no entries, the first on line %d; their videos are made again",
                self.path, damaged, len(lines), found.index(None) + 1,
            )  # fmt: skip
        return {entry.key: entry for entry in found if entry is not None}

    def append(self, entry: Entry) -> None:
        """Append a finished video. Its files are on the disk already, see :func:`.files.atomic_path`."""
        new = not self.path.exists()
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_line(entry))
            file.flush()
            os.fsync(file.fileno())
        if new:
            sync_files([self.path])

    def keep(self, entries: Iterable[Entry]) -> None:
        """Replace the contents by these entries; without any, there is no journal."""
        lines = [_line(entry) for entry in entries]
        if not lines:
            return self.remove()
        with atomic_path(self.path) as part:
            part.write_text("".join(lines), encoding="utf-8")

    def remove(self) -> None:
        """Delete the journal."""
        self.path.unlink(missing_ok=True)


def entries_elsewhere(table: Path, keys: Collection[str]) -> dict[str, Entry]:
    """Return entries of these keys in the journals of other tables of the stage, where a shard has split or merged.

    All journals of a small stage are searched. In a large one, only those of shards that this one may have been cut
    from, or the other way round, and those of shards of a single video, which have its id.
    """
    if not keys:
        return {}
    own = Journal.of_table(table).path
    others = [path for path in sorted(table.parent.glob(f"*{SUFFIX}")) if path != own]
    if len(others) > _SEARCHED:
        others = [path for path in others if _related(_shard(path), _shard(own)) or _shard(path) in keys]
    found = (Journal(path).read() for path in others)
    return {key: entry for entries in found for key, entry in entries.items() if key in keys}


def _shard(journal: Path) -> str:
    """Return the name of the journal's shard, without animator and round."""
    return journal.name.removesuffix(f".parquet{SUFFIX}").split("@")[0].split("+")[0]


def _related(one: str, other: str) -> bool:
    """Return whether a shard may have been cut from another: its name continues the other's, or its range does.

    A range of hashes is named after its start in hexadecimal and cut into halves; the lower keeps the name, and the
    start of a part is that of the whole with bits set below its last one.
    """
    if one.startswith(other) or other.startswith(one):
        return True
    starts = [re.fullmatch(r"shard-([0-9a-f]{4,16})", name) for name in (one, other)]
    if not all(starts):
        return False
    whole, part = sorted(int(found[1].ljust(16, "0"), 16) for found in starts if found)
    return whole == 0 or part // (whole & -whole) * (whole & -whole) == whole


def _line(entry: Entry) -> str:
    text = json.dumps(asdict(entry))
    return f'{text[:-1]}, "crc32": "{crc32(text.encode()):08x}"}}\n'


def _parse(line: bytes) -> Entry | None:
    """Return the entry on a line; None if it is damaged, of an earlier version, or JSON of another kind."""
    text = line[: line.rfind(b', "crc32": ')] + b"}"
    try:
        entry = Entry(**json.loads(text))
        if line != _line(entry).encode() or not _has_types(entry):
            return None
    except (ValueError, TypeError, RecursionError):
        return None
    return entry


def _has_types(entry: Entry) -> bool:
    """Return whether the values have the types of an entry, so that whoever uses it need not ask."""
    return (
        isinstance(entry.key, str)
        and isinstance(entry.mark, str)
        and isinstance(entry.made, list)
        and all(isinstance(row, dict) and row.get("status") in (OK, REJECTED, FAILED) for row in entry.made)
        and all(isinstance(row.get("path"), str | None) for row in entry.made)
        and isinstance(entry.files, dict)
        and all(type(size) is int for size in entry.files.values())
    )


def _size(path: str) -> int | None:
    try:
        return Path(path).stat().st_size
    except OSError:
        return None
