"""Faults of machines: full disks, limits, killed processes, damaged journals, tables and files."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from fault_bench import Bench, Kind, Outcome, fault, nobody_blamed, small_disk
from small_stages import STAGES, table_of

from deepfakemnist.dataset.repair import find_repairs, remove_damaged
from deepfakemnist.media.ffmpeg import find_ffmpeg
from deepfakemnist.tables.files import read_rows
from deepfakemnist.tables.journal import Journal

_WRITERS = ("crop", "animate", "compress", "frames")


def _full_disk(stage: str) -> Kind:
    def kind(bench: Bench) -> Outcome:
        with small_disk(bench.folder / "disk", 8000) as disk:
            bench.folder = disk
            (disk / "messages.txt").symlink_to(disk.parent / "messages.txt")
            (disk / stage).mkdir()
            found = os.statvfs(disk)
            free = found.f_bavail * found.f_frsize
            # Up to four fifths of what the stage writes, so that it never fits.
            needed = sum(path.stat().st_size for path in (bench.inputs / stage).rglob("*") if path.is_file())
            (disk / "filler").write_bytes(bytes(free - bench.random.randrange(4 * needed // 5)))
            status = bench.stage(stage)
            noticed = (
                status == 1 and bench.said("No space left", "Free space there") and nobody_blamed(table_of(stage, disk))
            )
            (disk / "filler").unlink()
            return bench.compare(stage, noticed)

    return kind


for _stage in STAGES:
    fault(f"disk full, {_stage}")(_full_disk(_stage))


@fault("limit of file sizes (ulimit -f), compress")
def _file_size(bench: Bench) -> Outcome:
    limit = bench.random.randrange(2 << 10, 8 << 10)
    status = bench.stage("compress", begin=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    told = bench.said("File too large") or bench.said("SIGXFSZ")
    return bench.compare("compress", status == 1 and told and nobody_blamed(table_of("compress", bench.folder)))


@fault("limit of open files (ulimit -n), crop")
def _open_files(bench: Bench) -> Outcome:
    limit = bench.random.randrange(8, 16)
    status = bench.stage("crop", begin=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)))
    noticed = status == 0 or bench.said("Too many open files") or bench.said("ERROR")
    return bench.compare("crop", noticed)


@fault("ffmpeg alone killed, compress")
def _ffmpeg_killed(bench: Bench) -> Outcome:
    program = Path(find_ffmpeg().path).resolve()
    child = bench.start("compress")
    for _ in range(bench.random.randrange(1, 3)):
        while not (victim := _child_running(child, program)):
            if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                break
        if not victim:
            break
        time.sleep(bench.random.uniform(0, 0.02))
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
    status = bench.ended(child)
    noticed = (
        status == 1 and bench.said("ffmpeg was ended by SIGKILL") and nobody_blamed(table_of("compress", bench.folder))
    )
    return bench.compare("compress", noticed or status == 0)


def _child_running(parent: int, program: Path) -> int | None:
    """Return the id of a child process that runs a program."""
    with suppress(OSError):
        for name in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
            with suppress(OSError):
                if Path(f"/proc/{name}/exe").readlink() == program:
                    return int(name)
    return None


def _killed(stage: str) -> Kind:
    def kind(bench: Bench) -> Outcome:
        started = time.monotonic()
        bench.stage(stage)
        seconds = time.monotonic() - started
        shutil.rmtree(bench.folder / stage)
        child = bench.start(stage)
        time.sleep(bench.random.uniform(0, seconds))
        os.kill(child, signal.SIGKILL)
        bench.ended(child)
        table = table_of(stage, bench.folder)
        done = set(Journal.of_table(table).read())
        outcome = bench.compare(stage, True)
        parts = list((bench.folder / stage).rglob(".*.part.*"))
        noticed = not parts and done <= {row["video_id"] for row in read_rows(table)}
        return Outcome(outcome.lost, noticed, outcome.healed)

    return kind


for _stage in (*_WRITERS, "liveness"):
    fault(f"job killed, {_stage}")(_killed(_stage))


def _damaged_journal(damage: Callable[[Bench, bytes], bytes]) -> Kind:
    def kind(bench: Bench) -> Outcome:
        bench.stage("crop")
        table = table_of("crop", bench.folder)
        path = Journal.of_table(table).path
        path.write_bytes(damage(bench, path.read_bytes()))
        table.unlink()
        bench.messages.clear()
        outcome = bench.compare("crop", True)
        return Outcome(outcome.lost, bench.said("are no entries"), outcome.healed)

    return kind


@fault("journal: a byte altered")
@_damaged_journal
def _(bench: Bench, content: bytes) -> bytes:
    at = bench.random.randrange(len(content) - 1)
    return bytes([*content[:at], content[at] ^ (1 << bench.random.randrange(7)), *content[at + 1 :]])


@fault("journal: cut short")
@_damaged_journal
def _(bench: Bench, content: bytes) -> bytes:
    return content[: bench.random.randrange(1, len(content) - 1)].rstrip(b"\n")


@fault("journal: JSON that is no entry")
@_damaged_journal
def _(bench: Bench, content: bytes) -> bytes:
    lines = content.splitlines()
    lines.insert(
        bench.random.randrange(len(lines) + 1), bench.random.choice([b"1", b"null", b"[]", b'{"a": 1}', b"{}"])
    )
    return b"\n".join(lines) + b"\n"


def _damaged_result(stage: str, pattern: str) -> Kind:
    """Alter a byte of a stored file or table, and repair as `deepfakemnist repair` does."""

    def kind(bench: Bench) -> Outcome:
        results = bench.folder / "results"
        for one in {"crop", stage}:
            shutil.copytree(bench.inputs / one, results / one / "source")
        here = [path for path in sorted((results / stage).glob(pattern)) if path.is_file()]
        path = bench.random.choice(here)
        content = bytearray(path.read_bytes())
        content[bench.random.randrange(len(content))] ^= 1 << bench.random.randrange(8)
        path.write_bytes(content)
        repair = find_repairs(results)
        noticed = path in {damage.path for damage in repair.damaged}
        remove_damaged(repair)
        bench.folder = bench.folder / "again"
        bench.folder.mkdir()
        return bench.compare(stage, noticed)

    return kind


fault("a byte of a table altered, crop")(_damaged_result("crop", "source/*.parquet"))
fault("a byte of frames altered")(_damaged_result("frames", "source/*.parquet"))


@fault("a byte of a stored clip altered, read by compress")
def _clip(bench: Bench) -> Outcome:
    row = bench.random.choice(read_rows(table_of("crop", bench.inputs)))
    path = Path(row["path"])
    whole = path.read_bytes()
    content = bytearray(whole)
    content[bench.random.randrange(len(content))] ^= 1 << bench.random.randrange(8)
    try:
        path.write_bytes(content)
        bench.stage("compress")
    finally:
        path.write_bytes(whole)
    reasons = {one["video_id"]: one["reason"] for one in read_rows(table_of("compress", bench.folder))}
    noticed = reasons[row["video_id"]] == "input_changed" and set(reasons.values()) == {"", "input_changed"}
    table_of("compress", bench.folder).unlink()  # as `deepfakemnist retry` does
    return bench.compare("compress", noticed)
