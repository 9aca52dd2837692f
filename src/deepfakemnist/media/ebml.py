"""EBML header reader: the size that a Matroska or WebM file states for itself.

It reveals truncation, of which such a file shows no other sign. Our own code, because libavformat reads this number
but PyAV does not expose it, and the bundled ffmpeg comes without ffprobe.
"""

from __future__ import annotations

from pathlib import Path

_HEADER, _SEGMENT = 0x1A45DFA3, 0x18538067
#: Enough for the EBML header and the start of the segment.
_HEAD_BYTES = 4096


def stated_size(path: Path) -> int | None:
    """Return the size in bytes that a Matroska file states in its header; None when it states none, as in live streams.

    (RFC 8794: an element is an id, a size of one to eight bytes, and its payload.)
    """
    with path.open("rb") as file:
        data = file.read(_HEAD_BYTES)
    try:
        kind, at = _number(data, 0, keep_mark=True)
        size, at = _number(data, at)
        if kind != _HEADER or size is None:
            return None
        kind, at = _number(data, at + size, keep_mark=True)
        size, at = _number(data, at)
    except IndexError:
        return None
    return None if kind != _SEGMENT or size is None else at + size


def _number(data: bytes, at: int, keep_mark: bool = False) -> tuple[int | None, int]:
    """Return the variable-length integer at ``at`` and its end; None for all ones, which means unknown size."""
    first = data[at]
    length = 9 - first.bit_length()
    if length > 8 or at + length > len(data):
        raise IndexError(at)
    value = int.from_bytes(data[at : at + length])
    if keep_mark:
        return value, at + length
    value &= (1 << 7 * length) - 1
    return (None if value == (1 << 7 * length) - 1 else value), at + length
