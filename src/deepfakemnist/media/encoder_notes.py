"""x264 and x265 SEI user data: encoder name, version and options as text in the coded stream."""

from __future__ import annotations

import re
from pathlib import Path

#: The note is in the first packet, which follows the index.
_SEARCHED_BYTES = 1 << 20
_NOTE = re.compile(rb"x26[45] [(-][\x20-\x7e]{20,}")
_VERSION = re.compile(r"x264 - core \d+(?: r\d+ \w+)?|x265 \(build \d+\)")


def encoder_note(path: Path | str) -> str:
    """Return the encoder's note, or an empty string when the file has none (AV1, other encoders)."""
    with Path(path).open("rb") as file:
        found = _NOTE.search(file.read(_SEARCHED_BYTES))
    return found.group().decode("ascii") if found else ""


def encoder_version(path: Path | str) -> str:
    """Return name and version of the encoder, e.g. ``x264 - core 165``; empty when the file has no note."""
    found = _VERSION.match(encoder_note(path))
    return found.group() if found else ""
