"""Frame of the fault benchmark: runs of stages in forked processes, kinds of faults, and the table of outcomes.

Runs are forked from a process that has imported everything and started no thread, so that one costs a second.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

from small_stages import run_stage, table_of

from deepfakemnist.machine_errors import machine_error
from deepfakemnist.tables.files import read_rows
from deepfakemnist.tables.journal import Journal

#: Columns that differ between runs: where files lie, files with a random signature, times.
_OF_THE_RUN = {"path", "ffmpeg_argv", "bytes", "sha256", "latency_s"}
WIDTHS = {"runs": 4, "lost": 5, "noticed": 8, "healed": 7, "paid_twice": 11}


@dataclass
class Outcome:
    """What one run of a kind came to."""

    lost: int
    noticed: bool
    healed: bool
    paid_twice: int = 0


@dataclass
class Bench:
    """Folders of one run, and its random numbers."""

    inputs: Path
    folder: Path
    random: random.Random
    messages: list[str] = field(default_factory=list)

    def stage(self, stage: str, inputs: Path | None = None, begin: Callable[[], None] | None = None) -> int:
        """Run a stage in a process of its own; return its exit status, 1 for an error with a message."""
        child = self.start(stage, inputs, begin)
        return self.ended(child)

    def start(self, stage: str, inputs: Path | None = None, begin: Callable[[], None] | None = None) -> int:
        """Start a stage in a forked process; return its id."""
        sys.stdout.flush()
        if child := os.fork():
            return child
        status = 3
        try:
            with (self.folder / "messages.txt").open("a") as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
                status = _run_and_report(stage, inputs or self.inputs, self.folder, begin)
        finally:
            os._exit(status)

    def ended(self, child: int) -> int:
        """Wait for a process and collect its messages; return its exit status."""
        _, code = os.waitpid(child, 0)
        with suppress(FileNotFoundError):
            self.messages += (self.folder / "messages.txt").read_text(errors="replace").splitlines()
        return os.waitstatus_to_exitcode(code)

    def said(self, *words: str) -> bool:
        """Return whether one message has all of these words."""
        return any(all(word in line for word in words) for line in self.messages)

    def compare(self, stage: str, noticed: bool) -> Outcome:
        """Run the stage again, undisturbed, and compare its table with that of the inputs."""
        status = self.stage(stage)
        wanted = rows_of(table_of(stage, self.inputs))
        made = rows_of(table_of(stage, self.folder)) if status == 0 else []
        return Outcome(sum(row not in made for row in wanted), noticed, status == 0 and made == wanted)


Kind = Callable[[Bench], Outcome]
KINDS: dict[str, Kind] = {}


def fault(name: str) -> Callable[[Kind], Kind]:
    """Register a kind of fault."""

    def register(kind: Kind) -> Kind:
        KINDS[name] = kind
        return kind

    return register


class NotHere(Exception):
    """This machine cannot do this kind of fault."""


def _run_and_report(stage: str, inputs: Path, folder: Path, begin: Callable[[], None] | None) -> int:
    try:
        if begin:
            begin()
        run_stage(stage, inputs, folder)
    except Exception as error:
        found = machine_error(error)
        print(f"ERROR {found or repr(error)}", flush=True)
        return 1 if found else 2
    return 0


def rows_of(table: Path) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name not in _OF_THE_RUN} for row in read_rows(table)]


def nobody_blamed(table: Path) -> bool:
    """Return whether no table was written and no journal names a failed video."""
    entries = Journal.of_table(table).read().values()
    return not table.exists() and all(row["status"] == "ok" for entry in entries for row in entry.made)


@contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[Path]:
    """Mount a file system of memory with little room."""
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise NotHere("no command `mount`") from error
    if done.returncode:
        raise NotHere(f"mounting a small disk is not allowed: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def measure(kinds: dict[str, Kind], inputs: Path, folder: Path, runs: int) -> list[dict[str, Any]]:
    """Run every kind; return one row each."""
    rows = []
    for name, kind in kinds.items():
        outcomes: list[Outcome] = []
        note = ""
        for run in range(runs):
            bench = Bench(inputs, folder / f"{len(rows)}-{run}", random.Random(f"{name} {run}"))
            bench.folder.mkdir(parents=True)
            try:
                outcomes.append(kind(bench))
            except NotHere as reason:
                note = str(reason)
                break
            if not (outcomes[-1].healed and outcomes[-1].noticed):
                print("\n".join(bench.messages[-8:]), file=sys.stderr)
        row = {
            "fault": name,
            "runs": len(outcomes),
            "lost": sum(one.lost for one in outcomes),
            "noticed": sum(one.noticed for one in outcomes),
            "healed": sum(one.healed for one in outcomes),
            "paid_twice": sum(one.paid_twice for one in outcomes),
            **({"left_out": note} if note else {}),
        }
        print(*(f"{row[key]:>{width}}" for key, width in WIDTHS.items()), name, note, flush=True)
        rows.append(row)
    return rows
