"""MP4 box reader and in-place comment tag writer.

Our own code, because PyAV and ffmpeg set a tag only by remuxing, which rewrites the whole container; here only
``moov`` changes and the coded stream stays as it is, byte for byte.

ISO/IEC 14496-12: a file is a sequence of boxes, each with a size, a four-character type and a payload. The coded
frames lie in ``mdat``; the chunk offset tables in ``moov`` (``stco``, ``co64``) point into it, so they are shifted
when ``moov`` grows.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

#: Container boxes on the path to a chunk offset table.
_CONTAINER_BOXES = {b"moov", b"trak", b"mdia", b"minf", b"stbl"}
_UTF8 = 1  # well-known type of a ``data`` box: UTF-8 text
_COMMENT = b"\xa9cmt"


class Box(NamedTuple):
    """A box within a buffer: its type, and the offsets of its header, its payload and its end."""

    kind: bytes
    start: int
    content: int
    end: int


def boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[Box]:
    """Yield the boxes in ``data[start:end]`` in file order.

    Raises: ValueError when the bytes are not a sequence of boxes.
    """
    end = len(data) if end is None else end
    while start < end:
        if start + 8 > end:
            raise ValueError(f"{end - start} bytes after the last box at {start}")
        size, kind = struct.unpack_from(">I4s", data, start)
        content = start + 8
        if size == 1:  # 64-bit size follows
            (size,) = struct.unpack_from(">Q", data, content)
            content += 8
        stop = end if size == 0 else start + size
        if stop < content or stop > end:
            raise ValueError(f"box {kind!r} at {start} claims {size} bytes of {end - start}")
        yield Box(kind, start, content, stop)
        start = stop


def set_comment(path: Path, text: str) -> None:
    """Set the comment tag of an MP4 file; the coded stream stays byte for byte the same.

    Replaces all other movie tags (``moov/udta``). The file is rewritten in place, so callers pass a temporary copy.

    Raises: ValueError when the file is not a plain MP4 with one ``moov``.
    """
    data = path.read_bytes()
    top_level = list(boxes(data))
    movies = [box for box in top_level if box.kind == b"moov"]
    if len(movies) != 1 or not any(box.kind == b"mdat" for box in top_level):
        raise ValueError(f"{path}: expected one moov and an mdat, found {[box.kind.decode() for box in top_level]}")
    (movie,) = movies
    kept = b"".join(data[box.start : box.end] for box in boxes(data, movie.content, movie.end) if box.kind != b"udta")
    new_movie = bytearray(_box(b"moov", kept + _tags(text)))
    shift = len(new_movie) - (movie.end - movie.start)
    _shift_chunk_offsets(new_movie, movie.end, shift)
    path.write_bytes(data[: movie.start] + bytes(new_movie) + data[movie.end :])


def _box(kind: bytes, *content: bytes) -> bytes:
    payload = b"".join(content)
    return struct.pack(">I4s", 8 + len(payload), kind) + payload


def _tags(text: str) -> bytes:
    """Return a ``udta`` box with the comment as an iTunes metadata list, the form that players read."""
    handler = _box(b"hdlr", struct.pack(">II4s4s8xB", 0, 0, b"mdir", b"appl", 0))
    value = _box(b"data", struct.pack(">II", _UTF8, 0), text.encode())
    return _box(b"udta", _box(b"meta", bytes(4), handler, _box(b"ilst", _box(_COMMENT, value))))


def _shift_chunk_offsets(movie: bytearray, after: int, shift: int) -> None:
    """Add ``shift`` to every chunk offset in ``movie`` that is at least ``after``."""
    for table, form in _offset_tables(movie, 0, len(movie)):
        (count,) = struct.unpack_from(">I", movie, table + 4)
        layout = f">{count}{form}"
        offsets = struct.unpack_from(layout, movie, table + 8)
        struct.pack_into(layout, movie, table + 8, *(o + shift if o >= after else o for o in offsets))


def _offset_tables(data: bytearray, start: int, end: int) -> Iterator[tuple[int, str]]:
    for box in boxes(bytes(data), start, end):
        if box.kind in _CONTAINER_BOXES:
            yield from _offset_tables(data, box.content, box.end)
        elif box.kind in (b"stco", b"co64"):
            yield box.content, "I" if box.kind == b"stco" else "Q"
