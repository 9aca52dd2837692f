"""Writer process pool for working clips, so that encoding does not stall the rendering thread.

The encoder releases the GIL but re-acquires it a dozen times per frame. A writer thread holds it for a tenth of its
time (measured), so ten of them leave a GPU waiting for its next launch; handing a frame to a process takes a fifteenth
of that.

A writer process does not import torch. It ends when its standard input closes, hence with its parent, however that
ended; a clip that it had not fully received is then not written.
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

from deepfakemnist.machine_errors import MachineError, check_child
from deepfakemnist.media.encode import WorkingClip, write_working_clip


class WriterProcesses:
    """A pool that writes one working clip per process at a time; a context manager, safe to use from several threads.

    Args:
        count: number of processes; 0 writes in the calling thread.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()

    def __enter__(self) -> WriterProcesses:
        for _ in range(self._count):
            self._idle.put(_start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        processes = [self._idle.get() for _ in range(self._count)]  # waits until each has finished its clip
        for process in processes:
            _stop(process)

    def write(self, path: Path | str, frames: Sequence[np.ndarray], fps: float) -> WorkingClip:
        """Run :func:`.encode.write_working_clip` in one of the processes, waiting until one is free.

        Raises: as that function; MachineError when the process dies, which is then replaced.
        """
        if not self._count:
            return write_working_clip(path, frames, fps)
        shapes = sorted({frame.shape for frame in frames})
        if len(shapes) > 1 or any(frame.dtype != np.uint8 for frame in frames):
            raise ValueError(f"{path}: all frames must be uint8 and of one size, not {' and '.join(map(str, shapes))}")
        process = self._idle.get()
        try:
            result = _request(process, (Path(path), fps, len(frames), shapes[0] if shapes else ()), frames)
        except BaseException as error:  # its pipes still hold data of this clip
            _stop(process)
            ended, process = process, _start()
            if isinstance(error, (EOFError, BrokenPipeError)):
                name = f"{path}: its writer process"
                check_child(name, ended.returncode, "", Path(path).parent)
                raise MachineError(f"{name} exited with {ended.returncode}; its messages are in the log") from error
            raise
        finally:
            self._idle.put(process)
        if isinstance(result, BaseException):
            raise result
        return result


def _start() -> subprocess.Popen[bytes]:
    # The same module search path as this process, without the working directory.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-P", "-m", __name__]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)


def _stop(process: subprocess.Popen[bytes]) -> None:
    with suppress(BrokenPipeError), process:  # closes its pipes and waits
        pass


def _request(
    process: subprocess.Popen[bytes], task: tuple[Path, float, int, tuple[int, ...]], frames: Sequence[np.ndarray]
) -> WorkingClip | Exception:
    assert process.stdin is not None and process.stdout is not None
    pickle.dump(task, process.stdin)
    for frame in frames:
        process.stdin.write(np.ascontiguousarray(frame).data)
    process.stdin.flush()
    result: WorkingClip | Exception = pickle.load(process.stdout)  # noqa: S301 (from our own child process)
    return result


def _serve(tasks: IO[bytes], results: IO[bytes]) -> None:
    """Write incoming clips until the input closes."""
    while True:
        try:
            path, fps, count, shape = pickle.load(tasks)  # noqa: S301
        except EOFError:
            return
        frames = _receive_frames(tasks, count, shape)
        result: WorkingClip | Exception
        try:
            result = write_working_clip(path, frames, fps)
        except Exception as error:
            result = error
        for _ in frames:  # drain what is left after an error
            pass
        pickle.dump(result, results)
        results.flush()


def _receive_frames(tasks: IO[bytes], count: int, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    for _ in range(count):
        frame = np.empty(shape, np.uint8)
        if tasks.readinto(frame.data.cast("B")) < frame.nbytes:  # type: ignore[attr-defined]
            raise SystemExit("the rendering process has ended")  # not an Exception: there is no one left to report to
        yield frame


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the rendering one decides
    results, sys.stdout = sys.stdout.buffer, sys.stderr  # stray prints must not corrupt the result stream
    _serve(sys.stdin.buffer, results)
