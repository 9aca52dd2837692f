"""Space that is kept free on a disk: whoever writes results stops before the disk is full.

A full disk stops everybody who writes there, not only this run, and what they do then is not ours to say.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from deepfakemnist.machine_errors import MachineError

GB = 1e9
#: Bytes to keep free, see keep_free.
_RESERVE: ContextVar[int] = ContextVar("reserve", default=0)


def free_bytes(folder: Path) -> int:
    """Return the bytes that a user may still write in a folder, or in the nearest that exists above it."""
    found = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
    return shutil.disk_usage(found).free


@contextmanager
def keep_free(reserve: float) -> Iterator[None]:
    """Have :func:`check_room` keep this many bytes free within the block."""
    token = _RESERVE.set(int(reserve))
    try:
        yield
    finally:
        _RESERVE.reset(token)


def check_room(folder: Path) -> None:
    """Raise MachineError where less is free than :func:`keep_free` says; costs microseconds.

    Args:
        folder: where something is about to be written; if it does not exist yet, the nearest above it counts.
    """
    reserve = _RESERVE.get()
    if not reserve:
        return
    try:
        free = free_bytes(folder)
    except OSError:  # whoever writes there finds out what is wrong
        return
    if free < reserve:
        raise MachineError(
            f"stopped before the disk is full: {free / GB:.2f} GB are free in {folder}, and disk.reserve_gb keeps "
            f"{reserve / GB:g} GB free. Free space there (`deepfakemnist gc --dry-run` lists what the run does not "
            "need), or lower disk.reserve_gb, then run the same command again. No video is blamed, and finished ones "
            "are kept.",
            errno.ENOSPC,
        )
