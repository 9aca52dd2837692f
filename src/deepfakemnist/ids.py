"""Identifiers of videos, people and drivers, and random seeds derived from them.

Seeds depend on ids, never on order, so adding a video leaves the others unchanged.
"""

import hashlib
import re

#: Allows VoxCeleb ids (``id10001#7w0IBEWc9Qw#001298#001705``), but no path separators, spaces or shell characters.
ID_PATTERN = re.compile(r"[A-Za-z0-9_#][A-Za-z0-9._#-]*")
ID_MAX_LENGTH = 100
#: C0 and C1 controls, among them NUL and what steers a terminal, and halves of characters, which no encoding holds.
CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
#: Separates source and driver in a fake's id; not allowed in ids, so the pair can be parsed.
PAIR_SEPARATOR = "@"
#: Suffixes of the workflow's own files: the table X.parquet lies next to the folder X.
_OWN_SUFFIXES = (".parquet", ".journal", ".lock", ".part")
#: Names of devices on Windows, with any suffix: a release with such a file cannot be unpacked there.
DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{port}{number}" for port in ("COM", "LPT") for number in range(10))}


def check_id(value: str) -> str:
    """Return ``value`` if it is a valid id, else raise ValueError with what is allowed.

    Ids become file names, so ``..``, ``/``, a leading dot or dash and all special characters of shells and URLs are
    refused, and so are names that some file system or the workflow itself uses otherwise.
    """
    if len(value) > ID_MAX_LENGTH:
        raise ValueError(f"id {value[:40]!r}… has {len(value)} characters; at most {ID_MAX_LENGTH} are allowed")
    if not ID_PATTERN.fullmatch(value) or ".." in value:
        raise ValueError(
            f"id {value!r} is not allowed: use letters, digits, '.', '_', '#' and '-', "
            "starting with a letter, a digit, '_' or '#', and without '..'"
        )
    if value.endswith("."):
        raise ValueError(f"id {value!r} is not allowed: Windows drops the dot at the end of a file name")
    if value.partition(".")[0].upper() in DEVICES:
        raise ValueError(f"id {value!r} is not allowed: it is the name of a device on Windows")
    if value.lower().endswith(_OWN_SUFFIXES):
        raise ValueError(f"id {value!r} is not allowed: the workflow's own files end in {', '.join(_OWN_SUFFIXES)}")
    return value


def check_video_id(value: str) -> str:
    """Return ``value`` if it is an id or the id of a fake, source@driver, else raise ValueError.

    Whatever makes a file name of an id that it read from a table calls this first.
    """
    for part in value.split(PAIR_SEPARATOR, 1):
        check_id(part)
    return value


def same_file_name(value: str) -> str:
    """Return a key that is equal for ids that are one file name where case does not count (macOS, Windows)."""
    return value.lower()


def printable(text: str) -> str:
    """Return a text with escapes for control characters, but line breaks and tabs: names must not steer a terminal."""
    return CONTROL_CHARACTERS.sub(lambda found: found[0] if found[0] in "\n\t" else ascii(found[0])[1:-1], text)


def pair_id(source_id: str, driver_id: str) -> str:
    """Return the id of the fake of a source and a driver."""
    return f"{source_id}{PAIR_SEPARATOR}{driver_id}"


def seed_from(*parts: object) -> int:
    """Return a 63-bit seed that depends on ``parts`` only, identical on every machine and Python version."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
