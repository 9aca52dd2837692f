"""Locks of tables and other results: two jobs, one of them left over from a killed run, never write the same files."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock of a file that is about to be written; if another job holds it, log a warning and wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=1)
    except Timeout:
        log.warning("another job, perhaps left over from a killed run, is still writing %s; waiting for it", path)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
