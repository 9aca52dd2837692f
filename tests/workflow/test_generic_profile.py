"""Runs through profiles/generic on a fake PBS: the real workflow, a failed job, and an interrupted run."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_schedulers import FakeScheduler
from mesh_project import PEOPLE, MeshProject
from tiny_project import ROOT

from deepfakemnist.tables.files import read_rows

pytestmark = [pytest.mark.workflow, pytest.mark.slow]


class Login:
    """The login node of a fake PBS cluster, and a copy of the profile with its settings."""

    def __init__(self, folder: Path) -> None:
        self.pbs = FakeScheduler.install("pbs", folder / "pbs")
        self.profile = Path(shutil.copytree(ROOT / "profiles/generic", folder / "profile"))
        config = self.profile / "config.yaml"
        # PBS passes no environment to jobs, and ours find the library in it.
        settings = {
            "poll_s=60": "poll_s=1\n  - submit_options='-v PYTHONPATH'",
            "status-checks: 10": "status-checks: 1",
            "retries: 2": "retries: 0",
        }
        text = config.read_text()
        for old, new in settings.items():
            assert old in text
            text = text.replace(old, new)
        config.write_text(text)
        self.output = folder / "output.txt"

    def start(self, folder: Path, *words: str) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            "PATH": f"{self.pbs.bin}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / "src"),
            "OMP_NUM_THREADS": "1",
        }
        with self.output.open("w") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "snakemake", "--workflow-profile", str(self.profile), "--jobs", "2", *words],
                cwd=folder, env=environment, text=True, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip


@pytest.fixture
def login(tmp_path: Path):
    made = Login(tmp_path)
    yield made
    for path in made.pbs.spool.glob("*.json"):
        if made.pbs.is_alive(path.stem):
            made.pbs.kill(path.stem)


def test_the_workflow_runs_on_a_cluster_without_slurm(login: Login, tmp_path: Path) -> None:
    project = MeshProject.make(tmp_path / "project")
    table = project.folder / "results/crop/source/shard-0000.parquet"
    where = ("--snakefile", str(ROOT / "Snakefile"), "--configfile", "small.yaml")
    process = login.start(project.folder, *where, "--", "results/crop/source/shard-0000.parquet")
    assert process.wait(timeout=600) == 0, login.output.read_text()[-6000:]
    assert [row["status"] for row in read_rows(table)] == ["ok"] * PEOPLE
    # One wait in the queue for both stages, and nothing of the jobs is left.
    (options,) = login.pbs.submissions()
    assert options[options.index("-N") + 1] == "prepare-source-shard-0000"
    assert re.fullmatch(r"select=1:ncpus=1:mem=\d+mb", options[options.index("-l") + 1])
    assert "walltime=05:00:00" in options
    assert list((project.folder / ".snakemake/deepfakemnist/jobs").iterdir()) == []


SNAKEFILE = """
rule good:
    output: "{name}.txt"
    shell: "touch {wildcards.name}.started; while ! [ -e go ]; do sleep 0.1; done; touch {output}"
rule bad:
    output: "bad"
    shell: "echo broken pipe of the lab; exit 3"
"""


def slow_down_status(profile: Path) -> None:
    """Have each question for the state of a job take a second."""
    status = profile / "status"
    status.rename(profile / "real_status")
    status.write_text('#!/bin/sh\ntouch asking; sleep 1; exec "$(dirname "$0")/real_status" "$@"\n')
    status.chmod(0o700)


@pytest.mark.parametrize("ctrl_c", [True, pytest.param(False, marks=pytest.mark.extended)])
def test_a_run_that_is_interrupted_while_it_asks_for_its_jobs_cancels_them(
    login: Login, tmp_path: Path, ctrl_c: bool
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "Snakefile").write_text(SNAKEFILE)
    slow_down_status(login.profile)
    process = login.start(folder, "--", "one.txt", "two.txt")
    until = time.monotonic() + 120
    asking = folder / "asking"
    while not (login.output.read_text().count("with external jobid") == 2 and asking.exists()):
        assert time.monotonic() < until and process.poll() is None, login.output.read_text()
        asking.unlink(missing_ok=True)
        time.sleep(0.1)
    # In this second, Snakemake's list of running jobs is empty.
    assert login.pbs.is_alive("101") and login.pbs.is_alive("102")
    if ctrl_c:
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) != 0
    until = time.monotonic() + 5
    while login.pbs.is_alive("101") or login.pbs.is_alive("102"):
        assert time.monotonic() < until, login.output.read_text()
        time.sleep(0.1)
    assert not list((folder / ".snakemake/deepfakemnist/jobs").glob("*.run"))


@pytest.mark.extended
def test_a_failed_job_fails_the_run_and_names_its_output(login: Login, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "Snakefile").write_text(SNAKEFILE)
    assert login.start(folder, "--", "bad").wait(timeout=120) == 1
    said = login.output.read_text()
    log = re.search(r"job 101\.pbs01: exit code 1\. Its output: (\S+)", said)
    assert log and "broken pipe of the lab" in Path(log[1]).read_text(), said
