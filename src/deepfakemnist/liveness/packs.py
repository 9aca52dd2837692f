"""Packed answers of a ledger: one ZIP file per two leading digits of the keys, instead of a file per answer.

A million answers are a million files, more than many quotas allow and more than any backup likes. Packed, they are 256
per provider, which every ZIP tool reads. A pack is replaced as a whole, so that a kill leaves the old or the new one;
an answer lies beside it as a file of its own until it is packed, and counts as it lies there.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deepfakemnist.liveness.files import DamagedFile
from deepfakemnist.tables.files import atomic_path

SUFFIX = ".zip"


def pack_of(folder: Path, key: str) -> Path:
    """Return the pack in which an answer would be.

    Args:
        folder: of one provider.
        key: of the answer.
    """
    return folder / f"{key[:2]}{SUFFIX}"


def read_packed(pack: Path, key: str) -> dict[str, Any] | None:
    """Return an answer; None if there is no such pack or no such answer in it. Raises: DamagedFile."""
    if not pack.is_file():
        return None
    with _opened(pack) as archive:
        try:
            return _parse(archive.read(f"{key}.json"), pack)
        except KeyError:
            return None


def packed_keys(pack: Path) -> list[str]:
    """Return the keys of all answers in a pack, sorted; none if there is no such pack. Raises: DamagedFile."""
    if not pack.is_file():
        return []
    with _opened(pack) as archive:
        return sorted(name.removesuffix(".json") for name in archive.namelist())


def packed_answers(pack: Path, without: Collection[str] = ()) -> Iterator[dict[str, Any]]:
    """Yield the answers of a pack by key, but for some. Raises: DamagedFile."""
    if not pack.is_file():
        return
    with _opened(pack) as archive:
        for name in sorted(archive.namelist()):
            if name.removesuffix(".json") not in without:
                yield _parse(archive.read(name), pack)


def add_to_pack(pack: Path, loose: Collection[Path]) -> None:
    """Pack answers, verify the pack, and delete their files. The caller holds the locks of their keys.

    Raises: DamagedFile for the pack as it was, or the new one; the files stay then.
    """
    texts = {path.name: path.read_bytes() for path in loose}
    _replace(pack, texts)
    with _opened(pack) as archive:
        if any(archive.read(name) != text for name, text in texts.items()):
            raise DamagedFile(pack, "it does not hold what was written")
    for path in loose:
        path.unlink()


def take_from_pack(pack: Path, keys: Collection[str]) -> None:
    """Write answers as files of their own again, beside the pack, and take them out of it; unknown keys are ignored.

    The caller holds their locks. Raises: DamagedFile.
    """
    wanted = set(keys) & set(packed_keys(pack))
    if not wanted:
        return
    folder = pack.with_suffix("")
    with _opened(pack) as archive:
        for key in wanted:
            with atomic_path(folder / f"{key}.json", into_reserve=True) as part:
                part.write_bytes(archive.read(f"{key}.json"))
    _replace(pack, {}, without=wanted)


def _replace(pack: Path, texts: dict[str, bytes], without: Collection[str] = ()) -> None:
    """Write a pack with its answers, some more and without others."""
    left_out = {f"{key}.json" for key in without} | set(texts)
    with atomic_path(pack, into_reserve=True) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as new:
        if pack.is_file():
            with _opened(pack) as old:
                for name in old.namelist():
                    if name not in left_out:
                        new.writestr(name, old.read(name))
        for name, text in sorted(texts.items()):
            new.writestr(name, text)


@contextmanager
def _opened(pack: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(pack) as archive:
            yield archive
    # A damaged entry gives a wrong CRC, zlib.error or EOFError, by where it is damaged.
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
        raise DamagedFile(pack, f"it is no whole ZIP file ({error})") from error


def _parse(text: bytes, pack: Path) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise DamagedFile(pack) from None
    if not isinstance(value, dict):
        raise DamagedFile(pack)
    return value
