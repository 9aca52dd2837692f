"""Working clips written by processes of their own, so that many writers do not slow the thread that renders.

An encoder works outside Python's lock but takes it a dozen times per frame. A writer thread holds it for a tenth of its
time (measured), so ten of them leave a GPU waiting for its next launch; to hand a frame to a process takes a fifteenth
of that.

A writer process imports no torch. It ends when its standard input does, so with the process that started it, however
that ended; a clip that it had not been given in whole is then not written.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import IO

import numpy as np

from deepfakemnist.errors import Failed
from deepfakemnist.media.encode import WorkingClip, write_working_clip


class WriterProcesses:
    """Writes as many working clips at once as there are processes. Use as a context manager, from several threads.

    Args:
        count: processes. 0 writes in the calling thread.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()

    def __enter__(self) -> WriterProcesses:
        for _ in range(self._count):
            self._idle.put(_started())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        processes = [self._idle.get() for _ in range(self._count)]  # each comes back from the clip it is at
        for process in processes:
            _end(process)

    def write(self, path: Path | str, frames: Sequence[np.ndarray], fps: float) -> WorkingClip:
        """Do what :func:`.encode.write_working_clip` does in one of the processes; waits until one is free.

        Raises: as that; Failed with reason encode_failed when the process ends, which another one then replaces.
        """
        if not self._count:
            return write_working_clip(path, frames, fps)
        shapes = sorted({frame.shape for frame in frames})
        if len(shapes) > 1 or any(frame.dtype != np.uint8 for frame in frames):
            raise ValueError(f"{path}: frames of uint8 and one size are wanted, not {' and '.join(map(str, shapes))}")
        process = self._idle.get()
        try:
            made = _ask(process, (Path(path), fps, len(frames), shapes[0] if shapes else ()), frames)
        except BaseException as error:  # what is left in its pipes belongs to this clip
            _end(process)
            ended, process = process, _started()
            if isinstance(error, (EOFError, BrokenPipeError)):
                raise Failed("encode_failed", f"{path}: its writer process ended with {ended.returncode}") from error
            raise
        finally:
            self._idle.put(process)
        if isinstance(made, BaseException):
            raise made
        return made


def _started() -> subprocess.Popen[bytes]:
    # Modules are looked for where this process does, but not in the working directory.
    places = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-P", "-m", __name__]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=places)


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(BrokenPipeError), process:  # closes its pipes and waits
        pass


def _ask(
    process: subprocess.Popen[bytes], task: tuple[Path, float, int, tuple[int, ...]], frames: Sequence[np.ndarray]
) -> WorkingClip | Exception:
    assert process.stdin is not None and process.stdout is not None
    pickle.dump(task, process.stdin)
    for frame in frames:
        process.stdin.write(np.ascontiguousarray(frame).data)
    process.stdin.flush()
    made: WorkingClip | Exception = pickle.load(process.stdout)  # noqa: S301 (from a process of our own)
    return made


def _serve(tasks: IO[bytes], results: IO[bytes]) -> None:
    """Write the clips that arrive until there are no more."""
    while True:
        try:
            path, fps, count, shape = pickle.load(tasks)  # noqa: S301
        except EOFError:
            return
        frames = _arriving(tasks, count, shape)
        made: WorkingClip | Exception
        try:
            made = write_working_clip(path, frames, fps)
        except Exception as error:
            made = error
        for _ in frames:  # those after an error
            pass
        pickle.dump(made, results)
        results.flush()


def _arriving(tasks: IO[bytes], count: int, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    for _ in range(count):
        frame = np.empty(shape, np.uint8)
        if tasks.readinto(frame.data.cast("B")) < frame.nbytes:  # type: ignore[attr-defined]
            raise SystemExit("the process that renders has ended")  # no Exception: nobody is there to be told
        yield frame


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C goes to all; the process that renders decides
    results, sys.stdout = sys.stdout.buffer, sys.stderr  # nothing else may get between the results
    _serve(sys.stdin.buffer, results)
