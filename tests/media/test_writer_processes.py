"""Writer process pool: same clips and errors as in-process writing, and no orphaned processes."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil  # type: ignore[import-untyped]
import pytest
from made_clips import ramp

from deepfakemnist.errors import Failed
from deepfakemnist.machine_errors import MachineError
from deepfakemnist.media.decode import read_clip
from deepfakemnist.media.pixels import pixels_sha256
from deepfakemnist.media.writer_processes import WriterProcesses

pytestmark = pytest.mark.slow

#: Writes clips until it is killed; prints the number of each finished one.
ENDLESS = """
import itertools, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
import numpy as np
from deepfakemnist.media.writer_processes import WriterProcesses
frames = list(np.random.default_rng(0).integers(0, 255, (60, 256, 256, 3), dtype=np.uint8))
with WriterProcesses(2) as writers:
    for number in itertools.count():
        writers.write(f"{sys.argv[1]}/{number}.mp4", frames, 25.0)
        print(number, flush=True)
"""


@pytest.fixture(scope="module")
def writers() -> Iterator[WriterProcesses]:
    with WriterProcesses(2) as started:
        yield started


def files(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.rglob("*") if entry.is_file())


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.02)


def test_concurrent_threads_get_their_own_clips(writers: WriterProcesses, tmp_path: Path, moving: np.ndarray) -> None:
    clips = [np.roll(moving, shift, axis=2)[: 12 - shift] for shift in range(6)]
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda n: writers.write(tmp_path / f"{n}.mp4", list(clips[n]), 29.97), range(6)))
    assert [clip.pixels_sha256 for clip in made] == [pixels_sha256(clip) for clip in clips]
    assert [clip.frames for clip in made] == [12, 11, 10, 9, 8, 7]
    assert np.array_equal(read_clip(made[3].path), clips[3])
    assert files(tmp_path) == [f"{n}.mp4" for n in range(6)]


def test_non_contiguous_frames(writers: WriterProcesses, tmp_path: Path, moving: np.ndarray) -> None:
    frames = list(moving[:, ::2, ::-1])
    assert np.array_equal(read_clip(writers.write(tmp_path / "a.mp4", frames, 25).path), np.stack(frames))


def test_zero_processes_write_in_the_calling_thread(tmp_path: Path, moving: np.ndarray) -> None:
    before = psutil.Process().children()
    with WriterProcesses(0) as here:
        assert here.write(tmp_path / "a.mp4", list(moving), 25).pixels_sha256 == pixels_sha256(moving)
        assert psutil.Process().children() == before


class TestErrors:
    """Errors are raised as without a process, and the next clips are written normally."""

    @pytest.fixture(autouse=True)
    def afterwards(self, writers: WriterProcesses, tmp_path: Path, moving: np.ndarray) -> Iterator[None]:
        yield
        for name in ("next", "next but one"):
            assert writers.write(tmp_path / f"{name}.mp4", list(moving), 25).pixels_sha256 == pixels_sha256(moving)
        assert files(tmp_path) == ["next but one.mp4", "next.mp4"]

    def test_no_frames(self, writers: WriterProcesses, tmp_path: Path) -> None:
        with pytest.raises(Failed, match="no_frames") as failed:
            writers.write(tmp_path / "a.mp4", [], 25)
        assert failed.value.reason == "no_frames"

    def test_encoder_error(self, writers: WriterProcesses, tmp_path: Path) -> None:
        with pytest.raises(Failed, match=r"a\.mp4") as failed:
            writers.write(tmp_path / "a.mp4", [np.zeros((2, 20_000, 3), np.uint8)] * 30, 25)
        assert failed.value.reason == "encode_failed"

    @pytest.mark.parametrize("odd", [ramp(1, height=50)[0], np.zeros((64, 64, 3), np.float32)])
    def test_frames_must_agree(
        self, writers: WriterProcesses, tmp_path: Path, moving: np.ndarray, odd: np.ndarray
    ) -> None:
        with pytest.raises(ValueError, match="one size"):
            writers.write(tmp_path / "a.mp4", [*moving, odd], 25)

    def test_a_file_in_place_of_the_folder(self, writers: WriterProcesses, tmp_path: Path, moving: np.ndarray) -> None:
        (file := tmp_path / "file").touch()
        with pytest.raises(OSError, match="file") as stopped:
            writers.write(file / "a.mp4", list(moving), 25)
        file.unlink()
        assert stopped.value.errno in (errno.ENOTDIR, errno.EEXIST)

    def test_a_killed_process(self, writers: WriterProcesses, tmp_path: Path, moving: np.ndarray) -> None:
        for child in psutil.Process().children():
            child.kill()
        for _ in range(2):
            with pytest.raises(MachineError, match=r"a\.mp4: its writer process was ended by SIGKILL"):
                writers.write(tmp_path / "a.mp4", list(moving), 25)


class TestEnd:
    def start_job(self, folder: Path) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
        job = subprocess.Popen([sys.executable, "-c", ENDLESS, folder], stdout=subprocess.PIPE, text=True)
        assert job.stdout is not None and job.stdout.readline() == "0\n"
        children = psutil.Process(job.pid).children()
        assert len(children) == 2
        return job, children

    @pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
    def test_writers_end_with_a_killed_job(self, tmp_path: Path, how: signal.Signals) -> None:
        job, children = self.start_job(tmp_path)
        wait_until(lambda: any(name.startswith(".") for name in files(tmp_path)))  # in the middle of a clip
        job.send_signal(how)
        job.communicate(timeout=20)
        assert job.returncode == -how
        psutil.wait_procs(children, timeout=10)
        assert not any(child.is_running() for child in children)
        whole = files(tmp_path)
        assert not any(name.startswith(".") for name in whole)
        assert {len(read_clip(tmp_path / name)) for name in whole} == {60}

    def test_writers_end_with_the_context_manager(self, tmp_path: Path) -> None:
        before = psutil.Process().children()
        with WriterProcesses(2):
            children = set(psutil.Process().children()) - set(before)
        assert len(children) == 2
        assert not any(child.is_running() for child in children)


def test_a_writer_does_not_import_torch() -> None:
    code = f"import {WriterProcesses.__module__}, sys; print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert shown.stdout == "False\n"
