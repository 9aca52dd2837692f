"""Full disks, limits and killed child processes: the stage stops with a message, no row blames a video, and the next
run goes on."""

from __future__ import annotations

import errno
import os
import pickle
import resource
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import av
import psutil  # type: ignore[import-untyped]
import pytest
import requests
from small_stages import PEOPLE, make_inputs, run_stage

from deepfakemnist.errors import ConfigError, Failed
from deepfakemnist.machine_errors import MachineError, check_child, machine_error
from deepfakemnist.media.ffmpeg import find_ffmpeg
from deepfakemnist.tables.files import atomic_path, read_rows
from deepfakemnist.tables.journal import Journal
from deepfakemnist.tables.schemas import OK

#: Columns that differ between runs: where files lie, files with a random signature, times.
_OF_THE_RUN = {"path", "ffmpeg_argv", "bytes", "sha256", "latency_s"}


def raised(error: BaseException, cause: BaseException | None = None, hidden: bool = False) -> BaseException:
    try:
        try:
            if cause:
                raise cause
        except BaseException as first:
            raise error from (None if hidden else first)
        raise error
    except BaseException as made:
        return made


class TestWhose:
    @pytest.mark.parametrize(
        "code",
        (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM,
         errno.EPIPE, errno.ESTALE, errno.EAGAIN),
    )  # fmt: skip
    def test_the_systems_codes_are_the_machines_wherever_they_hide(self, code: int) -> None:
        system = OSError(code, os.strerror(code), "/results/a.mp4")
        for error in (system, raised(Failed("unreadable"), system), raised(ValueError(), raised(KeyError(), system))):
            found = machine_error(error)
            assert found is not None and found.errno == code
            assert str(found).startswith(f"{os.strerror(code)}: /results/a.mp4")
            assert "run the same command again. No video is blamed" in str(found)

    @pytest.mark.parametrize(
        "error",
        [
            FileNotFoundError(errno.ENOENT, "No such file"), PermissionError(errno.EACCES, "Permission denied"),
            ValueError("No space left on device"), Failed("truncated"), OSError("cannot decode the image"),
            requests.ConnectionError(errno.EPIPE, "Broken pipe"), RuntimeError("CUDA error"),
            raised(Failed("no_answer"), OSError(errno.EPIPE, "Broken pipe"), hidden=True),
        ],
        ids=repr,
    )  # fmt: skip
    def test_other_errors_are_not(self, error: BaseException) -> None:
        assert machine_error(error) is None

    def test_memory_and_threads_that_have_run_out(self) -> None:
        found = machine_error(MemoryError("Unable to allocate 9 GiB"))
        assert "out of memory: Unable to allocate 9 GiB. Run fewer jobs" in str(found)
        assert "Raise the limit of processes" in str(machine_error(RuntimeError("can't start new thread")))

    @pytest.mark.parametrize("code", (errno.EIO, errno.ENOMEM))
    def test_what_libav_reports_is_the_videos_while_its_file_can_be_read(self, tmp_path: Path, code: int) -> None:
        (path := tmp_path / "a.mp4").write_bytes(b"no video")
        error = av.error.FFmpegError(code, os.strerror(code), str(path))
        assert machine_error(raised(Failed("corrupt"), error), [str(path)]) is None
        if Path("/proc/self/mem").exists():  # its first page is no memory: reading it gives EIO
            found = machine_error(av.error.FFmpegError(code, "text"), ["/proc/self/mem"])
            assert found is not None and found.errno == errno.EIO

    def test_an_error_survives_the_way_between_processes(self) -> None:
        error = pickle.loads(pickle.dumps(MachineError("full", errno.ENOSPC)))
        assert (str(error), error.errno) == ("full", errno.ENOSPC)

    @pytest.mark.parametrize(
        ("status", "log", "message"),
        [
            (-9, "", "ffmpeg was ended by SIGKILL. Kernels and schedulers"),
            (-25, "frame 3", "ffmpeg was ended by SIGXFSZ.*Its log: frame 3"),
            (-99, "", "ffmpeg was ended by signal 99"),
            (228, "", "ffmpeg exited with 228: No space left on device"),
            (1, "av_interleaved_write_frame(): Input/output error", "exited with 1: av_inter.*Check the disk"),
            (1, "a.mp4: Disk quota exceeded", "Free space of your quota"),
            (1, "a.mp4: Read-only file system", "Make the file system writable again"),
        ],
    )
    def test_the_end_of_a_child_process(self, tmp_path: Path, status: int, log: str, message: str) -> None:
        with pytest.raises(MachineError, match=message):
            check_child("ffmpeg", status, log, tmp_path)

    @pytest.mark.parametrize(("status", "log"), [(0, ""), (1, "width not divisible by 2"), (234, "Invalid argument")])
    def test_an_encoder_that_refuses(self, tmp_path: Path, status: int, log: str) -> None:
        check_child("ffmpeg", status, log, tmp_path)

    def test_a_folder_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(MachineError, match=r"Check that this can be written"), atomic_path(tmp_path / "file/a"):
            pass
        with pytest.raises(OSError, match="File name too long") as refused, atomic_path(tmp_path / ("a." + "b" * 300)):
            pass
        assert not isinstance(refused.value, MachineError), "the name is the video's"


@contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[Path]:
    """Mount a file system of memory with little room; skip the test where that is not allowed."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no command `mount` here, so no small disk")
    if done.returncode:
        pytest.skip(f"mounting a small disk is not allowed here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, leave: int) -> None:
    """Fill a disk except for some bytes."""
    found = os.statvfs(folder)
    (folder / "filler").write_bytes(bytes(max(found.f_bavail * found.f_frsize - leave, 0)))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    make_inputs(folder := tmp_path_factory.mktemp("inputs"))
    return folder


def comparable(table: Path) -> list[dict]:
    rows = read_rows(table)
    return [{name: value for name, value in row.items() if name not in _OF_THE_RUN} for row in rows]


def journalled(table: Path) -> set[str]:
    entries = Journal.of_table(table).read()
    assert all(row["status"] == OK for entry in entries.values() for row in entry.made), "nobody is blamed"
    return set(entries)


@pytest.mark.slow
@pytest.mark.xdist_group("machine_errors")
class TestStages:
    @pytest.mark.parametrize("leave", (0, 100), ids=lambda leave: f"{leave}k")
    @pytest.mark.parametrize("stage", ("crop", "animate", "compress", "frames"))
    def test_a_full_disk(self, tmp_path: Path, inputs: Path, stage: str, leave: int) -> None:
        with small_disk(tmp_path / "disk", 8000) as disk:
            table = disk / stage / "shard-0.parquet"
            table.parent.mkdir()
            fill(disk, leave << 10)
            with pytest.raises(OSError, match="No space left on device") as stopped:
                run_stage(stage, inputs, disk)
            message = str(machine_error(stopped.value))
            assert f"{disk}/{stage}" in message and "Free space there, then run the same command again" in message
            assert not table.exists()
            done = journalled(table)
            (disk / "filler").unlink()
            run_stage(stage, inputs, disk)
            assert comparable(table) == comparable(inputs / stage / table.name)
            assert done <= {row["video_id"] for row in read_rows(table)}

    @pytest.mark.parametrize("stage", ("ingest", "extract_motion", "liveness"))
    def test_a_disk_without_room_for_a_table(self, tmp_path: Path, inputs: Path, stage: str) -> None:
        with small_disk(tmp_path / "disk", 4000) as disk:
            (disk / stage).mkdir()
            fill(disk, 8 << 10)
            with pytest.raises(OSError, match="No space left on device"):
                run_stage(stage, inputs, disk)
            journalled(table := disk / stage / "shard-0.parquet")
            assert not table.exists()
            (disk / "filler").unlink()
            run_stage(stage, inputs, disk)
            assert comparable(table) == comparable(inputs / stage / table.name)

    @pytest.mark.parametrize("stage", ("crop", "animate", "compress", "frames"))
    def test_a_limit_of_file_sizes(self, tmp_path: Path, inputs: Path, stage: str) -> None:
        """As quotas, for those who may not mount: Python is told, ffmpeg is killed."""
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        table = tmp_path / stage / "shard-0.parquet"
        resource.setrlimit(resource.RLIMIT_FSIZE, (6 << 10, hard))
        try:
            with pytest.raises(OSError, match="File too large|SIGXFSZ") as stopped:
                run_stage(stage, inputs, tmp_path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert machine_error(stopped.value) is not None
        assert not table.exists() and journalled(table) == set()
        run_stage(stage, inputs, tmp_path)
        assert comparable(table) == comparable(inputs / stage / table.name)

    def test_ffmpeg_alone_killed(self, tmp_path: Path, inputs: Path) -> None:
        killed, here, program = [], psutil.Process(), Path(find_ffmpeg().path).resolve()

        def kill() -> None:
            end = time.monotonic() + 30
            while not killed and time.monotonic() < end:
                for child in here.children():
                    with suppress(psutil.Error):
                        if Path(child.exe()) == program:
                            child.kill()
                            killed.append(child.pid)

        table = tmp_path / "compress" / "shard-0.parquet"
        (killer := threading.Thread(target=kill)).start()
        with pytest.raises(MachineError, match=f"stopped at {PEOPLE[0]}: ffmpeg was ended by SIGKILL"):
            run_stage("compress", inputs, tmp_path)
        killer.join()
        assert not table.exists() and journalled(table) == set()
        run_stage("compress", inputs, tmp_path)
        assert comparable(table) == comparable(inputs / "compress" / table.name)

    def test_too_many_open_files(self, tmp_path: Path, inputs: Path) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
        with ExitStack() as files:
            files.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
            with suppress(OSError):
                while True:
                    last = files.enter_context(Path(os.devnull).open())
            last.close()
            with pytest.raises(OSError, match="Too many open files"):
                run_stage("crop", inputs, tmp_path)
        assert not (tmp_path / "crop" / "shard-0.parquet").exists()


@pytest.mark.parametrize("hidden", (ValueError, ConfigError, RuntimeError))
def test_a_library_that_hides_a_full_disk(tmp_path: Path, hidden: type[Exception]) -> None:
    with small_disk(tmp_path / "disk", 200) as disk:
        with pytest.raises(MachineError, match="No space left"), atomic_path(disk / "a.bin") as part:
            try:
                part.write_bytes(bytes(1 << 20))
            except OSError:
                raise hidden("why is not said") from None
        assert list(disk.iterdir()) == []
