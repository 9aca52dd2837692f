"""Faults of machines and vendors, and what is left of them after the next run: lost, noticed, healed, paid twice.

    python benchmarks/faults.py [--runs 5] [--jobs 2] [--only TEXT]

prints the table and writes ``benchmarks/faults.json``; about five minutes of one core. Small disks are mounted, which
needs root on Linux; without it these kinds are left out, and the table says so.

Every run of a kind disturbs a real stage, or real jobs that ask a simulated vendor, at a random moment or place, and
then does what a user does: remove the cause, give the same command again. The columns:

* lost: rows that are then missing or other than in an undisturbed run.
* noticed: runs whose disturbed half said what happened, or came to no harm.
* healed: runs whose second half ended as an undisturbed one, or named what nobody can know.
* paid twice: requests that the vendor's own record has more than once.

A kind is one function with the decorator ``fault``; it takes a Bench and returns an Outcome.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import faults_of_machines
import faults_of_vendors
from fault_bench import KINDS, WIDTHS, Kind, measure
from small_stages import make_inputs

assert faults_of_machines  # imported for its kinds


#: Below the working directory of each job, so that the paths in its tables name its own copy.
INPUTS = Path("inputs")


def measure_in_parallel(kinds: dict[str, Kind], folder: Path, runs: int, jobs: int) -> list[dict[str, Any]]:
    """Measure the kinds in forked processes, each with a copy of the inputs; return rows in the order of the kinds."""
    children = []
    for job in range(jobs):
        if child := os.fork():
            children.append(child)
            continue
        status = 1
        try:
            own = {name: kind for place, (name, kind) in enumerate(kinds.items()) if place % jobs == job}
            shutil.copytree(folder / INPUTS, folder / str(job) / INPUTS)
            os.chdir(folder / str(job))
            rows = measure(own, INPUTS, folder / str(job) / "runs", runs)
            (folder / f"rows-{job}.json").write_text(json.dumps(rows))
            status = 0
        finally:
            os._exit(status)
    if any(os.waitpid(child, 0)[1] for child in children):
        raise SystemExit("a kind could not be measured; see above")
    rows = [row for job in range(jobs) for row in json.loads((folder / f"rows-{job}.json").read_text())]
    return sorted(rows, key=lambda row: list(kinds).index(row["fault"]))


def make_inputs_in_a_child(folder: Path) -> None:
    """Make the inputs where threads of TensorFlow Lite and OpenCV do not reach the process that forks the runs."""
    if child := os.fork():
        if os.waitpid(child, 0)[1]:
            raise SystemExit("the inputs could not be made")
        return
    os.chdir(folder)
    make_inputs(INPUTS)
    os._exit(0)


def main() -> None:
    """Run the kinds and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5, help="runs of every kind")
    parser.add_argument("--jobs", type=int, default=2, help="kinds measured at the same time")
    parser.add_argument("--only", default="", help="only kinds whose name contains this")
    arguments = parser.parse_args()
    kinds = {name: kind for name, kind in KINDS.items() if arguments.only in name}
    started = os.times()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / INPUTS).mkdir()
        if any(kind.__module__ != faults_of_vendors.__name__ for kind in kinds.values()):  # vendors' need no inputs
            make_inputs_in_a_child(Path(folder))
        print(*(f"{key:>{width}}" for key, width in WIDTHS.items()), "fault")
        rows = measure_in_parallel(kinds, Path(folder), arguments.runs, arguments.jobs)
    ended = os.times()
    seconds = sum(ended[:4]) - sum(started[:4])
    if not arguments.only:
        result = {"runs_per_kind": arguments.runs, "cpu_s": round(seconds), "faults": rows}
        Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    bad = [row["fault"] for row in rows if row["lost"] or row["paid_twice"] or row["healed"] < row["runs"]]
    print(f"{len(rows)} kinds, {sum(row['runs'] for row in rows)} runs, {seconds:.0f} CPU s")
    if bad:
        print(f"not healed: {bad}")
    raise SystemExit(int(bool(bad)))


if __name__ == "__main__":
    main()
