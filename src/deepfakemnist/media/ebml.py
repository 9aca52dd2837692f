"""How long a Matroska or WebM file says it is; a cut one has no other sign of it than what is missing."""

from __future__ import annotations

from pathlib import Path

_HEADER, _SEGMENT = 0x1A45DFA3, 0x18538067
#: Enough for the header element and the beginning of the segment.
_HEAD_BYTES = 4096


def stated_size(path: Path) -> int | None:
    """Return the bytes that a Matroska file must have by its own header; None where it does not say, as live streams.

    (RFC 8794: an element is its id, its size as a number of one to eight bytes, and its content.)
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
    """Return the number at a place and where it ends; None for a size whose bits are all ones, which means unknown."""
    first = data[at]
    length = 9 - first.bit_length()
    if length > 8 or at + length > len(data):
        raise IndexError(at)
    value = int.from_bytes(data[at : at + length])
    if keep_mark:
        return value, at + length
    value &= (1 << 7 * length) - 1
    return (None if value == (1 << 7 * length) - 1 else value), at + length
