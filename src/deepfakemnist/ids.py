"""Identifiers: what a video, person or driver may be called, and seeds that follow from names, never from order."""

import hashlib
import re

#: VoxCeleb's own ids (``id10001#7w0IBEWc9Qw#001298#001705``) fit; path separators, spaces and shell characters do not.
ID_PATTERN = re.compile(r"[A-Za-z0-9_#][A-Za-z0-9._#-]*")
ID_MAX_LENGTH = 100
#: Joins source and driver in a fake's id. It cannot occur in an id itself, so the pair can be read back.
PAIR_SEPARATOR = "@"


def check_id(value: str) -> str:
    """Return ``value`` when it is a usable id, else raise ValueError saying what is allowed.

    Ids become file names, so ``..``, ``/`` and a leading dot or dash are refused along with everything a shell or
    a URL would read as something else.
    """
    if len(value) > ID_MAX_LENGTH:
        raise ValueError(f"id {value[:40]!r}… has {len(value)} characters; at most {ID_MAX_LENGTH} are allowed")
    if not ID_PATTERN.fullmatch(value) or ".." in value:
        raise ValueError(
            f"id {value!r} is not allowed: use letters, digits, '.', '_', '#' and '-', "
            "starting with a letter, a digit, '_' or '#', and without '..'"
        )
    return value


def pair_id(source_id: str, driver_id: str) -> str:
    """Name the fake made from a source moved by a driver."""
    return f"{source_id}{PAIR_SEPARATOR}{driver_id}"


def seed_from(*parts: object) -> int:
    """Return a 63-bit seed that depends on nothing but ``parts``, the same on every machine and Python."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
