"""Faults of a cluster, and what the next attempt makes again: controller, node, time limit, memory limit.

    python benchmarks/cluster_faults.py [--only NAMES]

runs on a real SLURM of one node (tests/helpers/one_node_slurm.py), prints the table of docs/clusters.md and writes
``benchmarks/cluster_faults.json``; about twenty minutes, most of them waiting. Every kind runs jobs through
``profiles/slurm``, disturbs them, and gives the same command again where the run has ended. ``again`` counts what was
finished and is made once more: videos by the log of the job, epochs by that of the training.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

from mesh_project import PEOPLE
from one_node_slurm import OneNodeSlurm, missing_programs
from simulated_vendors import ENVIRONMENT, vendors
from slurm_project import TARGETS, FirstRefused, SlurmProject
from weights_hub import weights_hub

from deepfakemnist.tables.journal import Journal

FRAMES = "results/frames/real/shard-0000.parquet"
DETECTOR = "results/detectors/small/c23/seed0"
WEIGHTS = f"{DETECTOR}/checkpoint.safetensors"
#: Log of the training, below the logs.
TRAINING = "train/small/c23/seed0"
#: Epochs of the training, three a second on one core, and of one that takes more than a minute.
EPOCHS, LONG = 100, 300
#: Epochs that a kill may cost: the one at work, and the one whose state is being written.
LOST = 2
_WAIT_S = 600.0


@dataclass
class Outcome:
    """What became of a disturbed run."""

    fault: str
    #: What was at work, and how much of it was finished when it was disturbed.
    finished: str
    #: Finished videos or epochs that were made again.
    again: int
    end: str
    #: Jobs that SLURM started, the disturbed ones included.
    jobs: int = 0


class Bench:
    """A cluster and a project on it, whose dataset is made without it."""

    def __init__(self, folder: Path, cluster: OneNodeSlurm, address: str) -> None:
        self.cluster, self._address, self._folder = cluster, address, folder
        self.project = self.new_project("trained")
        self.project.local = True
        self.project.run("--", *TARGETS[:1])
        self.project.local = False

    def new_project(self, name: str) -> SlurmProject:
        """Write a project."""
        detector = {"name": "meso4", "label": "small", "epochs": EPOCHS, "batch_size": 8, "image_size": 64}
        training = {"detectors": [detector], "trained_on": ["c23"], "tensorboard": False}
        return SlurmProject.of_vendor(self._folder / name, self._address, training=training)

    def log(self, rule: str) -> str:
        """Return the log of a rule; empty before it has one."""
        path = self.project.folder / f"results/logs/{rule}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait until something has happened."""
        deadline = time.monotonic() + _WAIT_S
        while not condition():
            if time.monotonic() > deadline:
                raise SystemExit(f"nothing happened:\n{self.project.output.read_text()}\n{self.cluster.story()}")
            time.sleep(0.01)  # a clip is written in tenths of a second

    def kill_snakemake(self, process: subprocess.Popen[str], wait: bool = True) -> None:
        """End Snakemake by SIGKILL, wait for its jobs to end well unless told not to, and unlock the folder."""
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        if wait:
            self.wait(lambda: not self.cluster.running())
            # What is written now is of jobs that run once more.
            shutil.rmtree(self.project.folder / "results/logs")
        self.project.run("--unlock")

    def epochs(self) -> int:
        """Return the number of the last epoch in the log of the training."""
        found = re.findall(r"epoch (\d+)/", self.log(TRAINING))
        return int(found[-1]) if found else 0


def processed(log: str) -> int:
    """Return how many videos a job has made, by its log."""
    found = re.search(r"(\d+) of \d+ videos processed", log)
    return int(found[1]) if found else 0


def controller_while_encoding(bench: Bench) -> Outcome:
    """Kill Snakemake as the last clips are written: ingest with crop, and compress with frames, end well without it."""
    trained, bench.project = bench.project, bench.new_project("encoded")
    process = bench.project.start("--", FRAMES)
    bench.wait(lambda: any((bench.project.folder / "results/compress/real").glob("*/*/.*.part.mp4")))
    bench.kill_snakemake(process)
    before = (bench.project.folder / FRAMES).stat().st_mtime_ns
    bench.project.run("--", FRAMES)
    again = processed(bench.log("compress/real/shard-0000")) + processed(bench.log("frames/real/shard-0000"))
    same = (bench.project.folder / FRAMES).stat().st_mtime_ns == before
    bench.project = trained
    return Outcome("Snakemake", "3 videos in 3 qualities, and their frames", again, "the same table" if same else "ok")


def controller_while_training(bench: Bench) -> Outcome:
    """Kill Snakemake during a training, which ends well before the next run."""
    return _trained(bench, wait=True)


def controller_then_at_once(bench: Bench) -> Outcome:
    """Kill Snakemake during a training, and give the command again while it goes on."""
    return _trained(bench, wait=False)


def _trained(bench: Bench, wait: bool) -> Outcome:
    process = bench.project.start("--", WEIGHTS)
    bench.wait(lambda: bench.epochs() > 2)
    bench.kill_snakemake(process, wait)
    bench.project.run("--", WEIGHTS)
    taken_over = "taken over" in bench.log(TRAINING) or not bench.epochs()
    when = "which ended before the next run" if wait else "which ended during the next run"
    return Outcome(
        "Snakemake", f"a training of {EPOCHS} epochs, {when}", 0 if taken_over else bench.epochs(), _state(bench, 0)
    )


def node_while_encoding(bench: Bench) -> Outcome:
    """End the node as the second of three videos is written; it comes back."""
    results = bench.project.folder / "results"
    for name in ("compress/real", "frames/real"):
        shutil.rmtree(results / name)
    process = bench.project.start("--", FRAMES)
    bench.wait(lambda: any((results / "compress/real").glob("*/*/.p1.*.part.mp4")))
    bench.cluster.kill_node()
    finished = len(Journal.of_table(results / "compress/real/shard-0000.parquet").read())
    bench.cluster.start("slurmd")
    status = process.wait(timeout=_WAIT_S)
    again = processed(bench.log("compress/real/shard-0000")) - (PEOPLE - finished)
    end = _state(bench, status, FRAMES)
    return Outcome("node, SIGKILL of its daemon and all jobs", f"{finished} of {PEOPLE} videos", again, end)


def node_while_training(bench: Bench) -> Outcome:
    """End the node with the training on it; it comes back."""
    process = bench.project.start("--", WEIGHTS)
    bench.wait(lambda: bench.epochs() > 20)
    bench.cluster.kill_node()
    reached = bench.epochs()
    bench.cluster.start("slurmd")
    return _resumed(bench, process, "node, SIGKILL of its daemon and all jobs", reached)


def over_time(bench: Bench) -> Outcome:
    """Give a long training a minute, and a minute more at every attempt."""
    detector = f"{{name: meso4, label: small, epochs: {LONG}, batch_size: 8, image_size: 64}}"
    limits = ("train:slurm_partition=gpu", "train:runtime=attempt")
    process = bench.project.start(
        "--set-resources", *limits, "--config", f"training={{detectors: [{detector}]}}", "--", WEIGHTS
    )
    bench.wait(lambda: "Time limit" in bench.cluster.log())
    return _resumed(bench, process, "time limit of 1 min, then 2, then 3", bench.epochs())


def over_memory(bench: Bench) -> Outcome:
    """Give the training less memory than it needs, and as much again at every attempt."""
    limits = ("train:slurm_partition=gpu", "train:mem_mb=attempt*700")
    process = bench.project.start("--set-resources", *limits, "--", WEIGHTS)
    bench.wait(lambda: "exceeded memory limit" in bench.cluster.log())
    return _resumed(bench, process, "memory limit of 700 MB, then 1400, then 2100", bench.epochs())


KINDS = (
    controller_while_encoding,
    controller_while_training,
    controller_then_at_once,
    node_while_encoding,
    node_while_training,
    over_memory,
    over_time,
)


def _state(bench: Bench, status: int, made: str = WEIGHTS) -> str:
    """Return how a run ended."""
    whole = (bench.project.folder / made).is_file()
    return "ended well" if status == 0 and whole else f"exit status {status}"


def _resumed(bench: Bench, process: subprocess.Popen[str], fault: str, reached: int) -> Outcome:
    """Wait for the end of a run whose training was ended after an epoch; its next attempt says where it goes on."""
    status = process.wait(timeout=_WAIT_S)
    resumed = re.search(r"resuming after epoch (\d+)", bench.log(TRAINING))
    again = reached - int(resumed[1]) if resumed else reached
    return Outcome(fault, f"{reached} epochs", max(again, 0), _state(bench, status))


@contextmanager
def bench_of(folder: Path) -> Iterator[Bench]:
    """Start a cluster and a vendor, and write a project."""
    (folder / "slurm").mkdir()
    settings = {"JobAcctGatherParams": "OverMemoryKill", "JobAcctGatherFrequency": "1", "KillWait": "1"}
    settings |= {"SlurmctldTimeout": "10", "SlurmdTimeout": "10", "OverTimeLimit": "0"}
    with (
        vendors(FirstRefused()) as (_, address),
        weights_hub([]) as hub,
        OneNodeSlurm(folder / "slurm", settings) as cluster,
    ):
        os.environ.update({**ENVIRONMENT, **hub, "HF_HOME": str(folder / "hub")})
        os.environ.update({name: cluster.environment[name] for name in ("PATH", "SLURM_CONF")})
        yield Bench(folder / "project", cluster, address)


def main() -> None:
    """Run the kinds and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="only kinds whose name matches this regular expression")
    parser.add_argument("--print", action="store_true", help="only print the table")
    arguments = parser.parse_args()
    if reason := missing_programs():
        raise SystemExit(f"SLURM {reason}")
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="dfm") as folder, bench_of(Path(folder)) as bench:
        for kind in KINDS:
            if not re.search(arguments.only, kind.__name__):
                continue
            for name in ("detectors", "logs"):
                shutil.rmtree(bench.project.folder / "results" / name, ignore_errors=True)
            started = bench.cluster.submissions().total()
            outcome = kind(bench)
            outcome.jobs = bench.cluster.submissions().total() - started
            outcomes.append(outcome)
            print(f"| {' | '.join(map(str, asdict(outcome).values()))} |", flush=True)
    if not arguments.only and not arguments.print:
        rows = [asdict(outcome) for outcome in outcomes]
        Path(__file__).with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    if bad := [outcome.fault for outcome in outcomes if outcome.again > LOST or "status" in outcome.end]:
        raise SystemExit(f"finished work was made again, or a run did not end well: {bad}")


if __name__ == "__main__":
    main()
