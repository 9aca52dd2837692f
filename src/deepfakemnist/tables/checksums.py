"""Checksums of Parquet tables and of the files they name, computed while writing and verified while reading.

A table carries its own sha256: the footer holds 64 digits, computed over the file with these digits as zeros, so that
table and checksum are one file, written once and replaced together. Every page has a CRC-32 besides, which costs little
enough to be verified at each read; the sha256 also covers headers and the footer, but needs the whole file.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from deepfakemnist.errors import ConfigError, Failed

_KEY = "checksum"
#: A second key, so that a damaged name of the first is not taken for a table without a checksum.
_METHOD = {"checksum_method": "sha256 of this file with the digits of checksum as zeros"}
#: Keys of the file-level metadata that belong to this module.
CHECKSUM_KEYS = frozenset({_KEY, *_METHOD})
_DIGITS = 64
#: In Thrift's compact protocol: the key's text, then field 2, a string of 64 bytes.
_BEFORE_DIGITS = _KEY.encode() + b"\x18" + bytes([_DIGITS])
_MAGIC = b"PAR1"
_BLOCK = 1 << 20


class DamagedTable(ConfigError):
    """A Parquet table is empty, cut short or altered. The message names it and the command that replaces it."""

    def __init__(self, path: Path | str, what: str) -> None:
        super().__init__(
            f"{path}: {what}. In a run's results, `deepfakemnist repair` lists what is damaged, removes it and has it "
            "made again"
        )
        self.path, self.what = Path(path), what


class Writable(Protocol):
    """A file open for writing, or what stands in for one."""

    def write(self, data: bytes, /) -> object:
        """Write the bytes."""


class FileFacts(NamedTuple):
    """Size and checksum of a stored file, as in the columns ``bytes`` and ``sha256``."""

    bytes: int
    sha256: str


def file_facts(path: Path | str) -> FileFacts:
    """Return size and sha256 of a file."""
    with Path(path).open("rb") as file:
        return FileFacts(os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256").hexdigest())


def digest_of_files(digests: Mapping[str, str]) -> str:
    """Return one sha256 for several files: that of the sorted lines ``<name> <sha256>``, each ended by a line feed."""
    lines = "".join(f"{name} {sha256}\n" for name, sha256 in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def check_unchanged(path: Path | str, sha256: str | None) -> None:
    """Compare a stored file with the sha256 in its table; a missing one is left to its reader.

    Args:
        path: file of an earlier stage.
        sha256: what that stage recorded; None in tables of version 0.2 or earlier, and nothing is compared.

    Raises: Failed with reason input_changed.
    """
    if sha256 and Path(path).is_file() and (found := file_facts(path).sha256) != sha256:
        raise Failed(
            "input_changed",
            f"{path}: sha256 is {found}, was {sha256} when it was written; `deepfakemnist repair` has it made again",
        )


@contextmanager
def checked_writer(
    path: Path | str, schema: pa.Schema, metadata: Mapping[str, str] | None = None, **options: Any
) -> Iterator[pq.ParquetWriter]:
    """Yield a Parquet writer whose file gets page checksums and the sha256 of itself.

    Args:
        path: file to write, not atomically; see :func:`.files.atomic_path`.
        schema: columns of the table.
        metadata: file-level metadata.
        options: further options of pyarrow's ParquetWriter.
    """
    with Path(path).open("wb+") as file:
        sink = HashingFile(file)
        writer = pq.ParquetWriter(sink, schema.with_metadata(dict(metadata or {})), write_page_checksum=True, **options)
        with writer:
            yield writer
            writer.add_key_value_metadata({_KEY: "0" * _DIGITS, **_METHOD})
        at = _digits_at(file, path)
        assert at is not None
        file.seek(at)
        file.write(sink.digest.hexdigest().encode())


def recorded_checksum(path: Path | str) -> str | None:
    """Return the checksum that a table carries, without verifying it; None for a table of version 0.2 or earlier.

    Raises: DamagedTable for an empty file or one without a readable footer.
    """
    with Path(path).open("rb") as file:
        at = _digits_at(file, path)
        if at is None:
            return None
        file.seek(at)
        return file.read(_DIGITS).decode("latin-1")


def verify_table(path: Path | str, copy: Writable | None = None) -> str | None:
    """Compare a table with the checksum that it carries; every byte counts.

    Args:
        path: Parquet file.
        copy: open file to which the bytes are written as they are hashed, so that what was verified is what was copied.

    Returns: the checksum; None for a table of version 0.2 or earlier, of which only the footer was verified.

    Raises: DamagedTable, FileNotFoundError.
    """
    with Path(path).open("rb") as file:
        at = _digits_at(file, path)
        file.seek(0)
        digest, recorded, position = hashlib.sha256(), bytearray(), 0
        while block := file.read(_BLOCK):
            if copy is not None:
                copy.write(block)
            if at is not None:
                start, stop = (min(max(edge - position, 0), len(block)) for edge in (at, at + _DIGITS))
                recorded += block[start:stop]
                block = block[:start] + b"0" * (stop - start) + block[stop:]
            digest.update(block)
            position += len(block)
    if at is None:
        return None
    if digest.hexdigest().encode() != recorded:
        raise DamagedTable(path, "its bytes do not match its checksum")
    return recorded.decode()


def _digits_at(file: IO[bytes], path: Path | str) -> int | None:
    """Return the offset of the checksum's digits; None for a table without one."""
    size = file.seek(0, io.SEEK_END)
    if size == 0:
        raise DamagedTable(path, "is empty (0 bytes)")
    file.seek(max(size - 8, 0))
    tail = file.read()
    length = int.from_bytes(tail[:4], "little")
    if not tail.endswith(_MAGIC) or length > size - 12:
        raise DamagedTable(path, f"has no Parquet footer after its {size} bytes: it was cut short or overwritten")
    file.seek(size - 8 - length)
    footer = file.read(length)
    if (at := footer.find(_BEFORE_DIGITS)) >= 0:
        return size - 8 - length + at + len(_BEFORE_DIGITS)
    if any(f"{key}\x18{chr(len(value))}{value}".encode() in footer for key, value in _METHOD.items()):
        raise DamagedTable(path, "its checksum is unreadable")
    try:
        pq.read_metadata(path)
    except (pa.ArrowException, OSError) as error:
        raise DamagedTable(path, f"its footer is unreadable: {error}") from error
    return None


class HashingFile(io.RawIOBase):
    """A file that is hashed while it is written; closing it leaves the file below open.

    Attributes:
        digest: sha256 of what was written.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: Any) -> int:
        """Hash and write the bytes; return their number."""
        self.digest.update(data)
        return self._file.write(data)

    def tell(self) -> int:
        """Return the position in the file."""
        return self._file.tell()
