"""Identifiers of videos, people and drivers, and random seeds derived from them.

Seeds depend on ids, never on order, so adding a video leaves the others unchanged.
"""

import hashlib
import re

#: Allows VoxCeleb ids (``id10001#7w0IBEWc9Qw#001298#001705``), but no path separators, spaces or shell characters.
ID_PATTERN = re.compile(r"[A-Za-z0-9_#][A-Za-z0-9._#-]*")
ID_MAX_LENGTH = 100
#: Separates source and driver in a fake's id; not allowed in ids, so the pair can be parsed.
PAIR_SEPARATOR = "@"


def check_id(value: str) -> str:
    """Return ``value`` if it is a valid id, else raise ValueError with what is allowed.

    Ids become file names, so ``..``, ``/``, a leading dot or dash and all special characters of shells and URLs are
    refused.
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
    """Return the id of the fake of a source and a driver."""
    return f"{source_id}{PAIR_SEPARATOR}{driver_id}"


def seed_from(*parts: object) -> int:
    """Return a 63-bit seed that depends on ``parts`` only, identical on every machine and Python version."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
