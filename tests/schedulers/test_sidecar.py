"""Process beside a run of Snakemake, on a fake PBS: which ends of the run cancel its jobs, and which do not."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_schedulers import FakeScheduler

from deepfakemnist.schedulers import records

PROFILE = Path(__file__).parents[2] / "profiles/generic"
#: What the executor does: start the sidecar, read its first line, and end it by SIGTERM.
EXECUTOR = f"""
import subprocess, sys
sidecar = subprocess.Popen(["{PROFILE}/sidecar"], stdout=subprocess.PIPE, text=True)
print(sidecar.stdout.readline().strip(), sidecar.pid, flush=True)
sys.stdin.readline()
sidecar.terminate()
sys.exit(sidecar.wait())
"""
JOB = """#!/bin/sh
# properties = {"type": "single", "rule": "one", "threads": 1, "resources": {"scheduler": "pbs", "poll_s": 0}}
sleep 60
"""


class Run:
    """A run in its folder on the login node, with its sidecar; ``stdin`` is a terminal's, or a pipe."""

    def __init__(self, folder: Path, terminal: int | None = None) -> None:
        self.pbs = FakeScheduler.install("pbs", folder / "pbs")
        self.folder = folder / "run"
        self.folder.mkdir()
        (self.folder / "job.sh").write_text(JOB)
        self.environment = {**os.environ, "PATH": f"{self.pbs.bin}:{os.environ['PATH']}"}
        self.executor = subprocess.Popen(
            [sys.executable, "-c", EXECUTOR], cwd=self.folder, env=self.environment, text=True,
            stdin=subprocess.PIPE if terminal is None else terminal, stdout=subprocess.PIPE, start_new_session=True,
            preexec_fn=None if terminal is None else lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        assert self.executor.stdout
        file, sidecar = self.executor.stdout.readline().split()
        self.file, self.sidecar = Path(file), int(sidecar)

    def start_submission(self, run: str | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [PROFILE / "submit", "job.sh"], cwd=self.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**self.environment, "SNAKEMAKE_CLUSTER_SIDECAR_VARS": str(self.file) if run is None else run},
        )  # fmt: skip

    def submit(self, run: str | None = None) -> str:
        return self.start_submission(run).communicate()[0].strip()

    def end(self) -> int:
        """End the sidecar as the executor does, and return its exit status."""
        self.executor.communicate("\n")
        return self.executor.returncode


def wait_until(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not true():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.fixture
def run(tmp_path: Path):
    made = Run(tmp_path)
    yield made
    clean_up(made)


def clean_up(run: Run) -> None:
    run.executor.kill()
    run.executor.wait()
    wait_until(lambda: not run.file.exists())
    for path in run.pbs.spool.glob("*.json"):
        if run.pbs.is_alive(path.stem):
            run.pbs.kill(path.stem)


def test_an_ended_run_leaves_no_job_of_its_own(run: Run) -> None:
    own, other, earlier = run.submit(), run.submit(run=str(run.folder)), run.submit(run="")
    assert run.end() == 0
    wait_until(lambda: not run.pbs.is_alive(own))
    assert run.pbs.is_alive(other) and run.pbs.is_alive(earlier)
    assert not run.file.exists()


def test_a_job_of_a_killed_run_that_this_one_goes_on_with_is_its_own(run: Run) -> None:
    job_id = run.submit(run=str(run.folder))
    asked = subprocess.run(
        [PROFILE / "status", job_id], cwd=run.folder, capture_output=True, text=True, check=True,
        env={**run.environment, "SNAKEMAKE_CLUSTER_SIDECAR_VARS": str(run.file)},
    )  # fmt: skip
    assert asked.stdout == "running\n"
    run.end()
    wait_until(lambda: not run.pbs.is_alive(job_id))


def test_jobs_that_are_cancelled_already_are_left_alone(run: Run) -> None:
    job_id = run.submit()
    subprocess.run([PROFILE / "cancel", job_id], cwd=run.folder, env=run.environment, check=True)
    run.pbs.set_down()
    assert run.end() == 0
    assert (run.pbs.spool / "down").read_text() == str(10**6), "the scheduler was asked again"


def test_a_killed_run_leaves_its_jobs_alive(run: Run) -> None:
    job_id = run.submit()
    run.executor.kill()
    wait_until(lambda: not run.file.exists())
    wait_until(lambda: not Path(f"/proc/{run.sidecar}").exists())
    assert run.pbs.is_alive(job_id)


def test_signals_of_others_do_not_end_the_sidecar(run: Run) -> None:
    job_id = run.submit()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(run.sidecar, number)
    time.sleep(0.3)
    assert run.file.exists() and run.pbs.is_alive(job_id)
    # Snakemake that is killed afterwards was not interrupted.
    run.executor.kill()
    wait_until(lambda: not run.file.exists())
    assert run.pbs.is_alive(job_id)


def test_a_second_ctrl_c_that_ends_snakemake_at_once_cancels_its_jobs(tmp_path: Path) -> None:
    keyboard, terminal = os.openpty()
    run = Run(tmp_path, terminal)
    job_id = run.submit()
    os.write(keyboard, b"\x03")
    assert run.executor.wait(timeout=10) != 0
    wait_until(lambda: not run.pbs.is_alive(job_id))
    clean_up(run)
    os.close(keyboard)
    os.close(terminal)


def slow_down(run: Run, command: str) -> None:
    """Have a command of the scheduler wait for a file, when it has done its work."""
    path = run.pbs.bin / command
    path.rename(path.with_name("real"))
    path.write_text('#!/bin/sh\n"$(dirname "$0")/real" "$@"; touch accepted; while ! [ -e go ]; do sleep 0.02; done\n')
    path.chmod(0o700)
    real = path.with_name("real")
    real.write_text(real.read_text().replace("sys.exit", f"sys.argv[0] = {command!r}\nsys.exit"))


def test_a_submission_that_snakemake_kills_is_cancelled(run: Run) -> None:
    slow_down(run, "qsub")
    submission = run.start_submission()
    wait_until((run.folder / "accepted").exists)
    submission.kill()
    submission.wait()
    assert run.end() == 0
    assert run.pbs.is_alive("101")
    (run.folder / "go").touch()
    wait_until(lambda: not run.pbs.is_alive("101"))


def test_a_submission_stops_when_its_run_has_ended(run: Run) -> None:
    run.end()
    submission = run.start_submission()
    assert submission.communicate()[0] == "" and submission.returncode == 1
    assert run.pbs.submissions() == []


def test_a_scheduler_that_is_away_is_asked_again_and_its_jobs_are_named(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from deepfakemnist.schedulers.sidecar import cancel_all

    first, second = run.submit(), run.submit()
    monkeypatch.chdir(run.folder)
    monkeypatch.setenv("PATH", run.environment["PATH"])
    run.pbs.set_down(calls=1)
    cancel_all(str(run.file), waits_s=(0, 0))
    wait_until(lambda: not run.pbs.is_alive(first) and not run.pbs.is_alive(second))
    assert capsys.readouterr().err == ""
    third = run.submit()
    run.pbs.set_down()
    cancel_all(str(run.file), waits_s=(0, 0))
    assert third in capsys.readouterr().err
    assert records.unfinished(str(run.file)) == [third]
    run.pbs.set_up()
