"""Scripts of profiles/generic against fake schedulers that run the jobs: states, failures, cancellation, resources."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fake_schedulers import FakeScheduler, shell_words

from deepfakemnist.errors import ConfigError
from deepfakemnist.schedulers import commands, records
from deepfakemnist.schedulers.job import Job

PROFILE = Path(__file__).parents[2] / "profiles/generic"
KINDS = ("lsf", "pbs", "sge")


class Cluster:
    """A run's folder on the login node of a fake cluster."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind, self.folder = kind, folder
        self.fake = FakeScheduler.install(kind, folder / "cluster")
        self.run = folder / "run"
        self.run.mkdir()

    def script(self, action: str, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a script of the profile, as the executor does."""
        environment = {**os.environ, "PATH": f"{self.fake.bin}:{os.environ['PATH']}"}
        return subprocess.run(
            [PROFILE / action, *words], cwd=self.run, env=environment, check=check, capture_output=True, text=True
        )  # fmt: skip

    def submit(self, line: str = "true", **resources: object) -> str:
        """Submit a job script as Snakemake writes it, and return the id."""
        with self.login():
            return commands.submit(self.job_script(line, **resources), retries_s=())

    def status(self, job_id: str) -> str:
        with self.login():
            return commands.status(job_id)

    @contextmanager
    def login(self) -> Iterator[None]:
        """Be where the scripts run: in the run's folder, with the scheduler's commands on PATH."""
        with pytest.MonkeyPatch.context() as patch, contextlib.chdir(self.run):
            patch.setenv("PATH", f"{self.fake.bin}:{os.environ['PATH']}")
            yield

    def job_script(self, line: str, **resources: object) -> Path:
        properties = {
            "type": "single", "rule": "crop", "wildcards": {"role": "source", "shard": "shard-8#x@2"}, "threads": 1,
            "resources": {"scheduler": self.kind, "poll_s": 0, "mem_mb": 2000, "runtime": 90, **resources},
        }  # fmt: skip
        properties["threads"] = resources.get("threads", 1)
        path = self.run / "snakejob.crop.1.sh"
        path.write_text(
            f"#!/bin/sh\n# properties = {json.dumps(properties)}\ncd {self.run} && {line} && exit 0 || exit 1\n"
        )
        return path

    def ended(self, job_id: str) -> str:
        """Return the final state of a job."""
        until = time.monotonic() + 20
        while (state := self.status(job_id)) == "running":
            assert time.monotonic() < until, f"{job_id} goes on running"
            time.sleep(0.05)
        return state

    def left(self) -> list[str]:
        return sorted(path.suffix for path in (self.run / records.FOLDER).iterdir())


@pytest.fixture(params=KINDS)
def cluster(request: pytest.FixtureRequest, tmp_path: Path):
    made = Cluster(request.param, tmp_path)
    yield made
    for path in made.fake.spool.glob("*.json"):
        if made.fake.is_alive(path.stem):
            made.fake.kill(path.stem)


def wait_for(path: Path) -> None:
    until = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < until, f"{path} does not appear"
        time.sleep(0.02)


def test_a_job_runs_succeeds_and_leaves_nothing(cluster: Cluster) -> None:
    script = cluster.job_script("touch started; while ! [ -e go ]; do sleep 0.05; done; echo done > result")
    job_id = cluster.script("submit", str(script)).stdout.strip()
    wait_for(cluster.run / "started")
    assert cluster.script("status", job_id).stdout == "running\n"
    (cluster.run / "go").touch()
    assert cluster.ended(job_id) == "success"
    assert (cluster.run / "result").read_text() == "done\n"
    assert cluster.left() == []


def test_a_failed_job_names_its_output(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    job_id = cluster.submit("echo no space >&2 && false")
    assert cluster.ended(job_id) == "failed"
    said = capsys.readouterr().err
    assert "exit code 1" in said
    assert "no space" in Path(said.split("Its output: ")[1].strip()).read_text()


def test_a_job_that_the_scheduler_kills_has_failed(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    job_id = cluster.submit("touch started; sleep 60")
    wait_for(cluster.run / "started")
    cluster.fake.kill(job_id)
    assert cluster.ended(job_id) == "failed"
    assert f"ended by {cluster.kind}" in capsys.readouterr().err


def test_a_finished_job_that_the_scheduler_has_forgotten_is_not_lost(cluster: Cluster) -> None:
    job_id = cluster.submit("touch result")
    wait_for(cluster.run / "result")
    cluster.fake.set(job_id, forgotten=True)
    assert cluster.ended(job_id) == "success"


def test_a_job_that_vanished_has_failed_when_the_scheduler_says_so_twice(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    job_id = cluster.submit("touch started; sleep 60")
    wait_for(cluster.run / "started")
    cluster.fake.set(job_id, forgotten=True)
    assert [cluster.status(job_id), cluster.status(job_id)] == ["running", "failed"]
    assert f"unknown to {cluster.kind}" in capsys.readouterr().err


def test_a_job_counts_as_running_while_the_scheduler_is_away(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    job_id = cluster.submit("touch started; while ! [ -e go ]; do sleep 0.05; done; false")
    wait_for(cluster.run / "started")
    cluster.fake.set_down()
    assert [cluster.status(job_id) for _ in range(3)] == ["running"] * 3
    assert capsys.readouterr().err.count("no answer") == 3
    (cluster.run / "go").touch()
    # The exit code needs no scheduler.
    assert cluster.ended(job_id) == "failed"


def test_the_scheduler_is_asked_every_poll_s_seconds(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    job_id = cluster.submit("touch started; sleep 60", poll_s=600)
    wait_for(cluster.run / "started")
    cluster.fake.set_down()
    assert (cluster.status(job_id), capsys.readouterr().err) == ("running", "")


def test_cancelled_jobs_end_with_all_their_processes(cluster: Cluster) -> None:
    jobs = []
    for number in range(2):
        jobs.append(cluster.submit(f"touch started{number}; sleep 60 | cat"))
        wait_for(cluster.run / f"started{number}")
    cluster.script("cancel", *jobs, "999")
    until = time.monotonic() + 5
    while any(map(cluster.fake.is_alive, jobs)):
        assert time.monotonic() < until
        time.sleep(0.02)
    assert [cluster.ended(job_id) for job_id in jobs] == ["failed", "failed"]


def test_submission_is_tried_again(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.fake.set_down(calls=2)
    with cluster.login():
        job_id = commands.submit(cluster.job_script("true"), retries_s=(0, 0))
    assert capsys.readouterr().err.count("returned 255") == 2
    assert cluster.ended(job_id) == "success"
    cluster.fake.set_down(calls=3)
    named = f"{cluster.kind} does not take the job crop-source-shard-8_x_2"
    with cluster.login(), pytest.raises(ConfigError, match=named):
        commands.submit(cluster.job_script("true"), retries_s=(0, 0))
    assert cluster.left() == []


RESOURCES = {"threads": 8, "mem_mb": 8001, "gpu": 2, "queue": "gpu", "submit_options": "-P 'my project'"}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (
            "lsf",
            "-J crop-source-shard-8_x_2 -oo PATH -n 8 -R span[hosts=1] -R rusage[mem=8001MB] -W 90 -gpu num=2 -q gpu "
            "-P my project",
        ),
        (
            "pbs",
            "-N crop-source-shard-8_x_2 -j oe -o PATH -l select=1:ncpus=8:mem=8001mb:ngpus=2 -l walltime=01:30:00 -q "
            "gpu -P my project PATH",
        ),
        (
            "sge",
            "-terse -N crop-source-shard-8_x_2 -S /bin/sh -j y -o PATH -pe smp 8 -l h_vmem=1001M -l h_rt=5400 -l gpu=2 "
            "-q gpu -P my project PATH",
        ),
    ],
)  # fmt: skip
def test_resources_reach_the_scheduler(tmp_path: Path, kind: str, options: str) -> None:
    cluster = Cluster(kind, tmp_path)
    cluster.submit(**RESOURCES)
    (found,) = cluster.fake.submissions()
    assert shell_words(found) == options.replace("/bin/sh", "PATH")
    assert found[found.index("-P") + 1] == "my project"


def test_sites_name_resources_and_memory_their_way(tmp_path: Path) -> None:
    sge = Cluster("sge", tmp_path / "sge")
    sge.submit(**RESOURCES, parallel_environment="threaded", memory_resource="mem_free", gpu_resource="cuda")
    assert {"threaded", "mem_free=1001M", "cuda=2"} < set(sge.fake.submissions()[0])
    lsf = Cluster("lsf", tmp_path / "lsf")
    lsf.submit(**RESOURCES, memory_per="slot")
    assert "rusage[mem=1001MB]" in lsf.fake.submissions()[0]


def test_a_job_in_error_has_failed_and_leaves_the_queue(tmp_path: Path) -> None:
    cluster = Cluster("sge", tmp_path)
    job_id = cluster.submit("sleep 60")
    cluster.fake.set(job_id, state="Eqw")
    assert cluster.ended(job_id) == "failed"
    assert cluster.fake.job(job_id)["deleted"]


@pytest.mark.parametrize(
    ("kind", "states"),
    [
        ("lsf", ("PEND", "PSUSP", "USUSP", "SSUSP", "UNKWN")),
        ("pbs", ("Q", "H", "W", "S", "E")),
        ("sge", ("qw", "hqw", "t", "dr")),
    ],
)
def test_a_waiting_suspended_or_ending_job_counts_as_running(
    tmp_path: Path, kind: str, states: tuple[str, ...]
) -> None:
    cluster = Cluster(kind, tmp_path)
    job_id = cluster.submit("sleep 60")
    for state in states:
        cluster.fake.set(job_id, state=state)
        assert cluster.status(job_id) == "running", state
    cluster.fake.kill(job_id)


def test_an_unknown_scheduler_is_named(tmp_path: Path) -> None:
    cluster = Cluster("pbs", tmp_path)
    found = cluster.script("submit", str(cluster.job_script("true", scheduler="slurm")), check=False)
    assert found.returncode == 1 and found.stdout == ""
    assert "'slurm' is none of lsf, pbs, sge" in found.stderr


def test_a_scheduler_that_is_not_installed_is_named(tmp_path: Path) -> None:
    cluster = Cluster("pbs", tmp_path)
    found = cluster.script("submit", str(cluster.job_script("true", scheduler="lsf")), check=False)
    assert found.returncode == 1 and "bsub is not on PATH" in found.stderr


def test_a_group_of_jobs_is_named_after_its_file() -> None:
    properties = {
        "type": "group", "groupid": "prepare", "output": ["results/crop/driver/shard-0000.parquet"], "threads": 1,
        "resources": {"mem_mb": 3000, "runtime": 300},
    }  # fmt: skip
    job = Job.of_script(f"#!/bin/sh\n# properties = {json.dumps(properties)}\ntrue\n")
    assert (job.name, job.mem_mb, job.runtime, job.gpus) == ("prepare-driver-shard-0000", 3000, 300, 0)
