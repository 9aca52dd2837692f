"""Errors of the machine: full disks, killed processes, exhausted limits.

They say nothing about the video at hand, so they end the job instead of becoming its row, and the next run goes on with
that video. What a video can cause by itself stays with it, such as a header that asks for more memory than there is.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path

#: errno → what to do about it.
_ADVICE = {
    errno.ENOSPC: "Free space there",
    errno.EDQUOT: "Free space of your quota there, or have it raised",
    errno.EFBIG: "Raise the limit of file sizes (ulimit -f), or use a file system without it",
    errno.EROFS: "Make the file system writable again; after a disk error it is mounted read-only",
    errno.EIO: "Check the disk or the network file system (dmesg), and restore or exclude what it has lost",
    errno.EMFILE: "Raise the limit of open files (ulimit -n), or run fewer jobs at once (--cores)",
    errno.ENFILE: "Raise the system's limit of open files, or run fewer jobs at once (--cores)",
    errno.ENOMEM: "Run fewer jobs at once (--cores), or give them more memory",
    errno.EAGAIN: "Raise the limit of processes (ulimit -u), or run fewer jobs at once (--cores)",
    errno.EPIPE: "A child process ended early; the log may say why",
    errno.ESTALE: "Mount the network file system again",
    errno.ENOTCONN: "Mount the network file system again",
    errno.ENODEV: "Check the disk or mount",
    errno.ENXIO: "Check the disk or mount",
    errno.ENOLCK: "Use a file system with locks, or mount it with them",
}
#: Codes of libav that a damaged video can cause as well: demuxers report short reads as EIO and absurd sizes as ENOMEM.
_PERHAPS_OF_THE_VIDEO = {errno.EIO, errno.ENOMEM, errno.EAGAIN, errno.EPIPE}
#: A disk with less than this free is full, bytes: encoders write in blocks of 32 kB.
_FULL = 1 << 16
_AGAIN = "then run the same command again. No video is blamed, and finished ones are kept."


class MachineError(OSError):
    """The machine prevents the work; the message says what, where and what to do.

    Args:
        message: the whole message.
        code: errno, where there is one.
    """

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.errno = code

    def __reduce__(self) -> tuple[type[MachineError], tuple[str, int | None]]:
        return MachineError, (str(self), self.errno)


def machine_error(error: BaseException, inputs: Iterable[str] = (), where: Path | str = "") -> MachineError | None:
    """Return the error of the machine behind an exception; None when it may be the video's.

    Args:
        error: an exception; what it was raised from counts, too.
        inputs: files that were being read: where libav reports an input error, they decide whose it is.
        where: folder that was being written, for errors that name no file.
    """
    for one in _causes(error):
        if isinstance(one, MachineError):
            return one
        code = _errno_of(one)
        if code is None and isinstance(one, MemoryError):
            return MachineError(f"out of memory: {one or type(one).__name__}. {_ADVICE[errno.ENOMEM]}, {_AGAIN}")
        if code is None and isinstance(one, RuntimeError) and str(one) == "can't start new thread":
            code = errno.EAGAIN
        if code not in _ADVICE:
            continue
        if type(one).__module__.startswith("av.") and code in _PERHAPS_OF_THE_VIDEO:
            tried = (_read_error(path) for path in [getattr(one, "filename", None), *inputs] if path)
            found = next((failure for failure in tried if failure and failure.errno in _ADVICE), None)
            if found is None:
                continue
            return of_errno(found.errno or code, found.filename or "")
        return of_errno(code, getattr(one, "filename", None) or where)
    return None


def of_errno(code: int | None, where: Path | str, what: str = "") -> MachineError:
    """Return the error of a code.

    Args:
        code: an errno; None if unknown.
        where: file or folder; empty if unknown.
        what: the message so far, instead of the code's text.
    """
    message = what or os.strerror(code or 0)
    if where and not what:
        message += f": {where}"
    if code == errno.ENOSPC and (space := _space(where)):
        message += f" ({space})"
    advice = _ADVICE.get(code or 0, "Check that this can be written there, the folder's owner and permissions included")
    return MachineError(f"{message}. {advice}, {_AGAIN}", code)


def check_child(name: str, status: int, log: str, folder: Path | str) -> None:
    """Raise MachineError when a child process did not end by itself, or because of the machine.

    Args:
        name: of the process, for the message.
        status: exit status as in :attr:`subprocess.Popen.returncode`, negative for a signal.
        log: what it wrote to standard error, with the texts of :func:`os.strerror`.
        folder: where it writes.
    """
    of_log = f" Its log: {log}" if log else ""
    if status == -signal.SIGXFSZ:
        raise of_errno(errno.EFBIG, folder, f"{name} was ended by SIGXFSZ" + (of_log and f".{of_log}"))
    if status < 0:
        try:
            ended = signal.Signals(-status).name
        except ValueError:
            ended = f"signal {-status}"
        raise MachineError(
            f"{name} was ended by {ended}. Kernels and schedulers do this when memory or time runs out: run fewer jobs "
            f"at once (--cores) or give them more, {_AGAIN}{of_log}"
        )
    for code in _ADVICE:
        # ffmpeg exits with AVERROR(code), and older versions with 1.
        if status and (os.strerror(code) in log or status == 256 - code):
            raise of_errno(code, folder, f"{name} exited with {status}: {log or os.strerror(code)}")


def disk_full(folder: Path | str) -> MachineError | None:
    """Return an error if the file system of a folder has no room for a block or a file; None otherwise."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return None
    if found.f_bavail * found.f_frsize >= _FULL and (found.f_favail > 0 or found.f_files == 0):
        return None
    return of_errno(errno.ENOSPC, folder)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and those that it was raised from, each once."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _errno_of(error: BaseException) -> int | None:
    """Return the errno of Python's own OSErrors and of libav's; those of HTTP libraries are about the network."""
    if isinstance(error, OSError) and type(error).__module__ == "builtins":
        return error.errno
    return getattr(error, "errno", None) if type(error).__module__.startswith("av.") else None


def _read_error(path: str) -> OSError | None:
    """Read a file to its end; return what prevents it."""
    try:
        with Path(path).open("rb") as file:
            while file.read(1 << 20):
                pass
    except OSError as error:
        return error
    return None


def _space(where: Path | str) -> str:
    """Return how much room there is, or nothing where that is unknown."""
    folders = [Path(where), *Path(where).parents] if where else []
    folder = next((one for one in folders if one.is_dir()), None)
    if folder is None:
        return ""
    found = shutil.disk_usage(folder)
    files = os.statvfs(folder)
    inodes = ", no room for another file" if files.f_files and not files.f_favail else ""
    return f"{found.free / 1e6:.1f} of {found.total / 1e6:.1f} MB are free{inodes}"
