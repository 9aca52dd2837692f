"""Atomic file writes and Parquet table I/O.

Every result is written whole or not at all, so a killed job leaves no partial file. It is flushed to disk, folder entry
included, before the caller goes on, so that no journal names a file that a power cut takes away: measured, 7 ms of
waiting per file, where encoding a clip takes seconds.
"""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from deepfakemnist.errors import Rejected
from deepfakemnist.machine_errors import disk_full, of_errno
from deepfakemnist.tables.checksums import CHECKSUM_KEYS, checked_writer, verify_table
from deepfakemnist.tables.disk_room import check_room
from deepfakemnist.tables.schemas import Row

#: Names of unfinished files, see atomic_path; group 1 is the start of the finished file's name.
PART_FILE = re.compile(r"\.(.{0,60})\.[a-z0-9_]{8}\.part\..+", re.DOTALL)
#: What a file system answers to a name that it does not take.
_OF_THE_NAME = {errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ}
#: Rows of a row group, the default of pyarrow.
_ROW_GROUP = 1 << 20
#: What fsync of a folder gives on file systems without it.
_NO_FOLDER_SYNC = {errno.EINVAL, errno.EBADF, errno.EACCES, errno.ENOTSUP}


def remove_part_files(table: Path | str, *folders: Path | str) -> None:
    """Delete the unfinished files that killed jobs left next to a table and in its folders of video files.

    Call it under the table's lock: nobody else writes this table or these folders then.
    """
    table = Path(table)
    # Of a longer name only the start is in the name of the part, which may then be another table's.
    own = {table.stem, table.name} if len(table.name) <= 60 else set()
    for path in table.parent.glob(".*.part.*"):
        if (name := PART_FILE.fullmatch(path.name)) and name[1] in own:
            path.unlink(missing_ok=True)
    for folder in folders:
        for path in Path(folder).rglob(".*.part.*"):
            if PART_FILE.fullmatch(path.name):
                path.unlink(missing_ok=True)


@contextmanager
def atomic_path(path: Path | str, flush: bool = True, into_reserve: bool = False) -> Iterator[Path]:
    """Yield a temporary path next to ``path``; rename it to ``path`` if the block succeeds, else delete it.

    The temporary name keeps the suffix, because ffmpeg and others derive the format from it. On return, the file
    and its name are on the disk and survive a power cut.

    Args:
        path: file to write.
        flush: false for one of many small files, if the caller passes them all to :func:`sync_files`.
        into_reserve: write even if less space is free than the run keeps, see :mod:`.disk_room`.

    Raises: MachineError when the folder cannot be written, when less is free than the run keeps, or when the disk is
        full after any error of the block; whatever the block raises otherwise.
    """
    path = Path(path)
    part = _new_part(path)
    try:
        if not into_reserve:
            check_room(path.parent)
        try:
            yield part
        except Rejected:
            raise
        except Exception as error:
            # Some libraries and programs hide what the system told them, the one that signs files among them.
            if (full := disk_full(path.parent)) is not None:
                raise full from error
            raise
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)  # mkstemp creates files that only the owner can read
        if flush:
            _sync(part)
        part.replace(path)
        if flush:
            _sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)


def _new_part(path: Path) -> Path:
    """Make an empty file with a temporary name in the folder of a file."""
    try:
        _make_folder(path.parent)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem[:60]}.", suffix=f".part{path.suffix}", dir=path.parent)
    except OSError as error:
        if error.errno in _OF_THE_NAME or error.errno is None:
            raise
        raise of_errno(error.errno, path.parent) from error
    os.close(handle)
    return Path(name)


def sync_files(paths: Iterable[Path]) -> None:
    """Flush files and their names to the disk."""
    paths = list(paths)
    for path in paths:
        _sync(path)
    for folder in {path.parent for path in paths}:
        _sync_folder(folder)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    """Flush the entries of a folder to the disk; do nothing where the file system cannot, as some network ones."""
    try:
        _sync(folder)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, and flush the new entries to the disk."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for one in missing:
        _sync_folder(one.parent)


def write_table(
    rows: Iterable[Row] | pa.Table, path: Path | str, schema: pa.Schema, metadata: Mapping[str, str] | None = None
) -> None:
    """Write rows to a Parquet file atomically. Missing columns become null; unknown ones are an error.

    Args:
        rows: dictionaries by column name, or a table with the schema's columns; other types, such as texts held once
            in a dictionary, are cast a row group at a time.
        path: file to write.
        schema: one of ``tables.schemas``.
        metadata: file-level metadata, e.g. the fingerprint of the table's inputs.
    """
    if not isinstance(rows, pa.Table):
        rows = list(rows)
        unknown = {name for row in rows for name in row} - set(schema.names)
        if unknown:
            raise ValueError(f"columns {sorted(unknown)} are not in the schema of {path}: {schema.names}")
        rows = pa.Table.from_pylist(rows, schema=schema)
    # Replaces file-level metadata only; column descriptions stay.
    with atomic_path(path) as part, checked_writer(part, schema, metadata) as writer:
        for start in range(0, max(rows.num_rows, 1), _ROW_GROUP):
            writer.write_table(rows.slice(start, _ROW_GROUP).cast(schema))


def read_table(
    path: Path | str,
    columns: Sequence[str] | None = None,
    filters: Sequence[tuple[str, str, object]] | None = None,
    encoded: Sequence[str] | None = None,
) -> pa.Table:
    """Read a Parquet table, or some of its columns and rows, and verify the pages read.

    Args:
        path: the table.
        columns: names; None: all.
        filters: conditions on the rows, as (column, operator, value) of pyarrow.parquet.read_table; None: all rows.
        encoded: text columns to read as dictionaries, which hold every text once.

    Raises: DamagedTable for a table that is empty, cut short or altered; FileNotFoundError.
    """
    with _naming_damage(path):
        return pq.read_table(
            Path(path),
            columns=list(columns) if columns else None,
            filters=filters,
            read_dictionary=list(encoded) if encoded else None,
            # Threads read ahead, which holds more than the rows wanted.
            use_threads=filters is None,
            partitioning=None,
            page_checksum_verification=True,
        )


def read_rows(paths: Path | str | Iterable[Path | str], columns: Sequence[str] | None = None) -> list[Row]:
    """Return the rows of one or more tables as dictionaries, in the given order."""
    if isinstance(paths, (str, Path)):
        paths = [paths]
    rows: list[Row] = []
    for path in paths:
        table = read_table(path, columns)
        with _naming_damage(path):  # bytes that are no text, in a file whose pages have no checksums
            rows += table.to_pylist()
    return rows


def distinct_values(path: Path | str, column: str) -> list[Any]:
    """Return the distinct values of a column, in order, without holding the column. Raises: as :func:`read_table`."""
    found: dict[Any, None] = {}
    with _naming_damage(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
        for batch in file.iter_batches(columns=[column]):
            found |= dict.fromkeys(batch.column(0).unique().to_pylist())
    return list(found)


def read_cells(path: Path | str, column: str, rows: Sequence[int]) -> Iterator[tuple[int, Any]]:
    """Yield row numbers and values of some rows of a column, one row group in memory at a time.

    Args:
        path: the table.
        column: name.
        rows: row numbers from 0, in ascending order.

    Raises: as :func:`read_table`.
    """
    with _naming_damage(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
        start, wanted = 0, deque(rows)
        for group in range(file.num_row_groups):
            end = start + file.metadata.row_group(group).num_rows
            if wanted and wanted[0] < end:
                values = file.read_row_group(group, [column]).column(0)
                while wanted and wanted[0] < end:
                    row = wanted.popleft()
                    yield row, values[row - start].as_py()
            start = end


def read_metadata(path: Path | str) -> dict[str, str]:
    """Return the file-level metadata of a table. Raises: DamagedTable; FileNotFoundError."""
    with _naming_damage(path):
        raw = pq.read_schema(Path(path)).metadata or {}
        pairs = {key.decode(): value.decode() for key, value in raw.items() if not key.startswith(b"ARROW:")}
    return {key: value for key, value in pairs.items() if key not in CHECKSUM_KEYS}


def column_names(path: Path | str) -> list[str]:
    """Return the columns of a table. Raises: DamagedTable; FileNotFoundError."""
    with _naming_damage(path):
        return list(pq.read_schema(Path(path)).names)


def count_rows(path: Path | str) -> int:
    """Return the number of rows of a table. Raises: DamagedTable; FileNotFoundError."""
    with _naming_damage(path):
        return int(pq.read_metadata(Path(path)).num_rows)


@contextmanager
def _naming_damage(path: Path | str) -> Iterator[None]:
    """Replace pyarrow's many exceptions for a damaged file by DamagedTable; leave those with another cause."""
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception:  # a damaged footer gives ArrowInvalid, OSError, UnicodeDecodeError, MemoryError and others
        if Path(path).is_file():
            verify_table(path)
        raise
