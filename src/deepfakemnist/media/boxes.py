"""The boxes of an MP4 file: reading their order, and putting a comment beside the pictures without touching them.

ISO/IEC 14496-12: a file is a row of boxes, each with a size, a four-letter type and content. The pictures lie in
``mdat``; ``moov`` says where each begins (``stco``, ``co64``), so whoever makes ``moov`` longer shifts those places.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

#: Boxes that hold nothing but boxes and may lie above a chunk offset table.
_PARENTS = {b"moov", b"trak", b"mdia", b"minf", b"stbl"}
_UTF8 = 1  # well-known type of a ``data`` box: UTF-8 text
_COMMENT = b"\xa9cmt"


class Box(NamedTuple):
    """A box within a buffer: its type, and where its header, content and end are."""

    kind: bytes
    start: int
    content: int
    end: int


def boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[Box]:
    """Yield the boxes of a stretch of ``data`` in their order.

    Raises: ValueError where the bytes are no row of boxes.
    """
    end = len(data) if end is None else end
    while start < end:
        if start + 8 > end:
            raise ValueError(f"{end - start} bytes after the last box at {start}")
        size, kind = struct.unpack_from(">I4s", data, start)
        content = start + 8
        if size == 1:  # the size did not fit into 32 bits
            (size,) = struct.unpack_from(">Q", data, content)
            content += 8
        stop = end if size == 0 else start + size
        if stop < content or stop > end:
            raise ValueError(f"box {kind!r} at {start} claims {size} bytes of {end - start}")
        yield Box(kind, start, content, stop)
        start = stop


def set_comment(path: Path, text: str) -> None:
    """Write ``text`` into the comment tag of an MP4 file; the coded pictures stay as they are, byte for byte.

    Other tags of the movie (``moov/udta``) are replaced. The file is rewritten in place: callers work on a temporary
    one.

    Raises: ValueError when the file is no plain MP4 with one ``moov``.
    """
    data = path.read_bytes()
    row = list(boxes(data))
    movies = [box for box in row if box.kind == b"moov"]
    if len(movies) != 1 or not any(box.kind == b"mdat" for box in row):
        raise ValueError(f"{path}: a plain MP4 has one moov and an mdat, not {[box.kind.decode() for box in row]}")
    (movie,) = movies
    kept = b"".join(data[box.start : box.end] for box in boxes(data, movie.content, movie.end) if box.kind != b"udta")
    longer = bytearray(_box(b"moov", kept + _tags(text)))
    shift = len(longer) - (movie.end - movie.start)
    _move_chunks(longer, movie.end, shift)
    path.write_bytes(data[: movie.start] + bytes(longer) + data[movie.end :])


def _box(kind: bytes, *content: bytes) -> bytes:
    inside = b"".join(content)
    return struct.pack(">I4s", 8 + len(inside), kind) + inside


def _tags(text: str) -> bytes:
    """Return a ``udta`` box with a comment in the form that players read (iTunes' list of tags)."""
    handler = _box(b"hdlr", struct.pack(">II4s4s8xB", 0, 0, b"mdir", b"appl", 0))
    value = _box(b"data", struct.pack(">II", _UTF8, 0), text.encode())
    return _box(b"udta", _box(b"meta", bytes(4), handler, _box(b"ilst", _box(_COMMENT, value))))


def _move_chunks(movie: bytearray, after: int, shift: int) -> None:
    """Add ``shift`` to every chunk offset of ``movie`` that lies at ``after`` or beyond."""
    for table, form in _offset_tables(movie, 0, len(movie)):
        (count,) = struct.unpack_from(">I", movie, table + 4)
        layout = f">{count}{form}"
        offsets = struct.unpack_from(layout, movie, table + 8)
        struct.pack_into(layout, movie, table + 8, *(o + shift if o >= after else o for o in offsets))


def _offset_tables(data: bytearray, start: int, end: int) -> Iterator[tuple[int, str]]:
    for box in boxes(bytes(data), start, end):
        if box.kind in _PARENTS:
            yield from _offset_tables(data, box.content, box.end)
        elif box.kind in (b"stco", b"co64"):
            yield box.content, "I" if box.kind == b"stco" else "Q"
