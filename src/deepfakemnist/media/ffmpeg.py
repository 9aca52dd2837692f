"""ffmpeg discovery and execution of ffmpeg-python graphs on raw frames.

The only module that uses ffmpeg-python. Arguments go to the process as a list, never through a shell. Paths are
absolute, so a leading dash is not an option and a colon not a protocol. A zero exit status is not proof of success:
callers decode what was written.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import ffmpeg as graphs
import numpy as np

from deepfakemnist.errors import ConfigError, Failed
from deepfakemnist.machine_errors import MachineError, check_child

_NEEDED_ENCODERS = ("libx264", "libx264rgb")
#: ffmpeg prints the cause first and then everything that failed because of it.
_SHOWN_LINES = 12


@dataclass(frozen=True)
class FFmpeg:
    """A working ffmpeg program with the required encoders."""

    path: str
    version: str  # first line of ``ffmpeg -version``
    encoders: frozenset[str] = frozenset()
    filters: frozenset[str] = frozenset()

    def require(self, encoders: Iterable[str]) -> None:
        """Raise ConfigError when this ffmpeg lacks one of ``encoders``."""
        missing = sorted(set(encoders) - self.encoders)
        if missing:
            raise ConfigError(
                f"compress.qualities needs {', '.join(missing)}, which {self.path} ({self.version}) lacks. Use another "
                "ffmpeg or remove these qualities"
            )


def find_ffmpeg(explicit: str | None = None) -> FFmpeg:
    """Return a usable ffmpeg: ``explicit``, else $IMAGEIO_FFMPEG_EXE, else PATH's, else imageio-ffmpeg's own.

    Raises: ConfigError when the first of these that exists cannot be run or lacks libx264 or libx264rgb.
    """
    if explicit:
        found = shutil.which(explicit)
        if not found:
            raise ConfigError(f"ffmpeg: {explicit!r} is not an executable. Name one, or set null to search for it")
        return _verified(found)
    named = os.environ.get("IMAGEIO_FFMPEG_EXE")
    found = named or shutil.which("ffmpeg")
    if not found:
        try:
            import imageio_ffmpeg  # deferred: clusters with their own ffmpeg can skip its 80 MB

            found = imageio_ffmpeg.get_ffmpeg_exe()
        except (ImportError, RuntimeError) as error:
            raise ConfigError("no ffmpeg found: install one, or name it under `ffmpeg` in the config") from error
    return _verified(found)


def ffmpeg_version(explicit: str | None = None) -> str:
    """Return the first line of ``ffmpeg -version`` of the program that :func:`find_ffmpeg` gives."""
    return find_ffmpeg(explicit).version


@cache
def _verified(path: str) -> FFmpeg:
    def query(*words: str) -> str:
        try:
            done = subprocess.run(
                [path, "-hide_banner", *words], capture_output=True, text=True, timeout=60, check=True
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise ConfigError(f"ffmpeg: {path} cannot be run ({error}). Name another one in the config") from error
        return done.stdout

    version = query("-version").partition("\n")[0].strip()

    def names(listing: str) -> frozenset[str]:
        return frozenset(words[1] for line in query(listing).splitlines() if len(words := line.split()) > 1)

    encoders = names("-encoders")
    missing = [name for name in _NEEDED_ENCODERS if name not in encoders]
    if missing:
        raise ConfigError(
            f"ffmpeg: {path} ({version}) lacks the encoder {' and '.join(missing)}. Use a build with x264 (conda-forge "
            "`ffmpeg=*=gpl*`, Debian's ffmpeg, or the one in the Python package imageio-ffmpeg)"
        )
    return FFmpeg(path, version, encoders, names("-filters"))


def frames_input(width: int, height: int, fps: float, pix_fmt: str = "rgb24") -> Any:
    """Return the input node of a graph: raw frames on standard input."""
    return graphs.input("pipe:", format="rawvideo", pix_fmt=pix_fmt, s=f"{width}x{height}", framerate=f"{fps:.6g}")


def merge_outputs(outputs: Iterable[Any]) -> Any:
    """Return one graph, hence one ffmpeg process, with several output files."""
    return graphs.merge_outputs(*outputs)


def arguments(graph: Any) -> list[str]:
    """Return ffmpeg's command-line arguments for a graph, without the program name."""
    head = ["-hide_banner", "-nostdin", "-loglevel", "error", "-xerror", "-filter_threads", "1"]
    return [*head, *graphs.get_args(graph, overwrite_output=True)]


def run_graph(graph: Any, program: FFmpeg, frames: Iterable[np.ndarray]) -> None:
    """Run a graph and feed it ``frames``, uint8 arrays in its input format: (H,W,3) for RGB.

    Raises: Failed with reason encode_failed and the last lines of ffmpeg's log; MachineError when it was killed or the
        disk is full; whatever ``frames`` raises.
    """
    words = arguments(graph)
    with tempfile.TemporaryFile() as log:  # a file, because a full stderr pipe would deadlock
        process = start_child([program.path, *words], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=log)
        assert process.stdin is not None
        try:
            with suppress(BrokenPipeError), process.stdin:  # ffmpeg gave up; its status and log say why
                for frame in frames:
                    process.stdin.write(np.ascontiguousarray(frame).data)
        except BaseException:
            process.kill()
            raise
        finally:
            status = process.wait()
        if status:
            log.seek(0)
            text = re.sub(r" @ 0x[0-9a-f]+", "", log.read().decode(errors="replace"))  # addresses differ per run
            lines = " | ".join(text.splitlines()[-_SHOWN_LINES:])
            check_child("ffmpeg", status, lines, Path(words[-1]).parent)
            raise Failed("encode_failed", f"ffmpeg exited with {status}: {lines}")


def start_child(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a program that has run before. Raises: MachineError when it cannot be started any more."""
    try:
        return subprocess.Popen(command, **options)
    except OSError as error:
        raise MachineError(
            f"{command[0]} cannot be started: {error.strerror}. It could before, so check the program and its file "
            "system, or run fewer jobs at once (--cores), then run the same command again.",
            error.errno,
        ) from error


def absolute(path: Path | str) -> str:
    """Return a path in a form that is safe for ffmpeg, whatever characters it contains."""
    return str(Path(path).absolute())
