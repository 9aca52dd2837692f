"""File locks between the processes of a machine, and between machines where the file system supports them.

Locks of the kernel (flock), which a killed process leaves: NFS from version 4 keeps them between machines, Lustre if it
is mounted with ``flock``. Lock files stay, because deleting one lets two processes hold it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from deepfakemnist.machine_errors import of_errno

log = logging.getLogger(__name__)


@contextmanager
def locked(path: Path, wait_s: float = -1, poll_s: float = 0.05) -> Iterator[None]:
    """Hold the lock of a file, which is created with its folder and the permissions that the umask leaves.

    Args:
        path: lock file.
        wait_s: seconds to wait for it; negative: for ever.
        poll_s: seconds between two tries.

    Raises:
        filelock.Timeout: another process holds it.
        MachineError: the file cannot be opened, such as that of another user who does not share his files, or the file
            system has no locks.
    """
    lock = FileLock(path, poll_interval=poll_s)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=wait_s)
    except Timeout:
        raise
    except OSError as error:
        raise of_errno(error.errno, path) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock of a result that is about to be written; if another job holds it, log a warning and wait.

    So that two jobs, one of them left over from a killed run, never write the same files. Raises: MachineError.
    """
    lock = path.with_name(f".{path.name}.lock")
    with ExitStack() as held:
        try:
            held.enter_context(locked(lock, wait_s=1))
        except Timeout:
            log.warning("another job, perhaps left over from a killed run, is still writing %s; waiting for it", path)
            held.enter_context(locked(lock))
        yield
