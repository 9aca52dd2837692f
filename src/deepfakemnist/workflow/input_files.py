"""Input files of a run, known by content: parameters that change if and only if the content does.

Snakemake notices an input by its time stamp, so it overlooks a file replaced by an older one, and makes everything
again from a file that was merely copied. Rules therefore take the version of their input files as a parameter. Unless a
file has changed, that costs one ``stat`` each.
"""

from __future__ import annotations

import atexit
import json
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from deepfakemnist.tables.checksums import digest_of_files
from deepfakemnist.tables.file_versions import FileStat, FileVersion, recorded_versions, sha256_of, stat_of
from deepfakemnist.tables.files import atomic_path
from deepfakemnist.tables.folders import real_path

log = logging.getLogger(__name__)

#: Hashes of inputs below the results, so that a large file is read once and not at every start.
CACHE = "input_hashes.json"
_MAX_LISTED = 5
#: Thousands of files may have to be read; the cache is not written after each.
_WRITE_EVERY_S = 1.0
#: Read without a word; more takes seconds.
_SILENT_BYTES = 2**30


class _Hash(NamedTuple):
    """Version of a file, and the time it had when this content was first seen."""

    version: FileVersion
    first_mtime_ns: int


class InputFiles:
    """Content of the input files of a run.

    Args:
        results: folder of the results, with the tables that were made from the files, and the cache of hashes.
        compare: whether to compare with those tables, as only the main process needs to.
    """

    def __init__(self, results: Path, compare: bool = True) -> None:
        self._results, self._compare = results, compare
        self._hashes: dict[str, _Hash] | None = None
        self._written = -_WRITE_EVERY_S
        self._read = 0
        self._seen: dict[Path, dict[str, tuple[str, bool]]] = {}
        self._changed: list[str] = []

    def versions(self, table: Path | str, paths: Sequence[str]) -> list[str]:
        """Return the versions of the files that a table is made from, for params.

        A version is what was recorded when the table was made, unless the content has changed since. Without
        ``compare``, as in a job, whose table is gone anyway, it is the present one: a job that outlives a killed main
        process records its params itself.
        """
        if not self._compare:
            return [str(stat_of(path)) for path in paths]
        return [self._version(Path(table), path)[0] for path in paths]

    def is_touched(self, table: Path | str, path: str) -> bool:
        """Return whether a file has another time than when the table was made, but the same content."""
        return self._compare and self._version(Path(table), path)[1]

    def sha256(self, path: Path | str | None) -> str:
        """Return the sha256 of a file, from the cache unless its size or times have changed.

        Empty for None, for a missing file, and for a file among the results, which a job of this run may write.
        """
        known = self._hash_of(path)
        return known.version.sha256 if known else ""

    def sha256_of_weights(self, files: Sequence[Path]) -> str:
        """Return the sha256 of a file, or the one digest of several; empty where that of any is, or there is none."""
        digests = {file.name: self.sha256(file) for file in files}
        if not digests or "" in digests.values():
            return ""
        return digest_of_files(digests) if len(digests) > 1 else next(iter(digests.values()))

    def has_new_time(self, path: Path | str) -> bool:
        """Return whether a file has another time than when its content was first seen."""
        known = self._hash_of(path)
        return known is not None and known.version.stat.mtime_ns != known.first_mtime_ns

    def _hash_of(self, path: Path | str | None) -> _Hash | None:
        if path is None or self._is_result(Path(path)) or (stat := stat_of(path)) is None:
            return None
        return self._hash(str(path), stat)

    def _version(self, table: Path, path: str) -> tuple[str, bool]:
        if table not in self._seen:
            # All files of a table at once, because that reads its metadata once.
            recorded = recorded_versions(table)
            self._seen[table] = {name: self._compared(name, known) for name, known in recorded.items()}
        of_table = self._seen[table]
        if path not in of_table:
            of_table[path] = str(stat_of(path)), False
        return of_table[path]

    def _compared(self, path: str, known: FileVersion) -> tuple[str, bool]:
        stat = stat_of(path)
        if stat == known.stat:
            return str(stat), False
        if (
            stat is not None
            and stat.bytes == known.stat.bytes
            and self._hash(path, stat).version.sha256 == known.sha256
        ):
            return str(known.stat), True
        if stat is not None:
            self._report(path)
        return str(stat), False

    def _report(self, path: str) -> None:
        """Print that a file has changed, since its time stamp may not show it."""
        if path in self._changed:
            return
        self._changed.append(path)
        if len(self._changed) <= _MAX_LISTED:
            print(
                f"{path} has another content than when it was processed; what depends on it is made again.",
                file=sys.stderr,
            )
        elif len(self._changed) == _MAX_LISTED + 1:
            print("More files have changed.", file=sys.stderr)

    def _announce(self, size: int) -> None:
        """Print once that reading takes a while."""
        before, self._read = self._read, self._read + size
        if before <= _SILENT_BYTES < self._read:
            print("Times of input files have changed; reading them to see whether their content has …", file=sys.stderr)

    def _hash(self, path: str, stat: FileStat) -> _Hash:
        if self._hashes is None:
            self._hashes = self._read_cache()
        known = self._hashes.get(path)
        if known is None or known.version.stat != stat:
            self._announce(stat.bytes)
            version = FileVersion(stat, sha256_of(path))
            same = known is not None and known.version.sha256 == version.sha256
            known = _Hash(version, known.first_mtime_ns if known is not None and same else stat.mtime_ns)
            self._hashes[path] = known
            self._write_cache()
        return known

    def _is_result(self, path: Path) -> bool:
        return real_path(path).is_relative_to(real_path(self._results))

    def _read_cache(self) -> dict[str, _Hash]:
        try:
            content = json.loads((self._results / CACHE).read_text(encoding="utf-8"))
            return {
                path: _Hash(FileVersion(FileStat(*stat), sha256), first)
                for path, (*stat, sha256, first) in content.items()
            }
        except (OSError, ValueError, TypeError):
            return {}

    def _write_cache(self) -> None:
        """Write the cache, unless that was done a moment ago: then when the process ends."""
        if time.monotonic() < self._written + _WRITE_EVERY_S:
            atexit.unregister(self._save)
            atexit.register(self._save)
        else:
            self._save()
            self._written = time.monotonic()

    def _save(self) -> None:
        """Write the cache if the user may; without it, the files are read again at the next start."""
        hashes = {
            path: [*one.version.stat, one.version.sha256, one.first_mtime_ns]
            for path, one in (self._hashes or {}).items()
        }
        try:
            with atomic_path(self._results / CACHE) as part:
                part.write_text(json.dumps(hashes), encoding="utf-8")
        except OSError as error:
            log.debug("%s is not written: %s", self._results / CACHE, error)
