"""Submission, status and cancellation of Snakemake's jobs, as the executor cluster-generic calls them.

A job writes its exit code to a file next to the run, which the status command reads first: the scheduler is asked only
about jobs that have not ended, every ``poll_s`` seconds, and a job that it has forgotten is not lost. Only a job that
the scheduler ended itself, over time or memory, has no such file.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deepfakemnist.errors import ConfigError
from deepfakemnist.schedulers import records
from deepfakemnist.schedulers.job import Job, Scheduler, State
from deepfakemnist.schedulers.lsf import Lsf
from deepfakemnist.schedulers.pbs import Pbs
from deepfakemnist.schedulers.sge import Sge

SCHEDULERS: dict[str, type[Scheduler]] = {"lsf": Lsf, "pbs": Pbs, "sge": Sge}
#: Seconds of waiting before each further attempt to submit: a restart of the scheduler's daemon takes about a minute.
RETRIES_S = (5.0, 20.0, 60.0)
#: Default of the resource ``poll_s``: seconds between two questions to the scheduler about one job.
_POLL_S = 60.0
#: Snakemake kills the cancellation command after 2 s.
_CANCEL_S = 1.5


def submit(script: Path, retries_s: Sequence[float] = RETRIES_S) -> str:
    """Submit a job script of Snakemake and return the scheduler's id of the job.

    Raises: ConfigError with command and answer if the scheduler does not take it, after several attempts, or if the run
    ends before.
    """
    text = script.read_text(encoding="utf-8")
    job = Job.of_script(text)
    scheduler = _scheduler(job.option("scheduler"))
    run_id = records.current_run()
    base = records.FOLDER.absolute() / f"{job.name}-{uuid.uuid4().hex[:8]}"
    base.parent.mkdir(parents=True, exist_ok=True)
    own, log, ended = (base.with_name(f"{base.name}.{suffix}") for suffix in ("sh", "log", "exit"))
    own.write_text(_with_exit_code(text, ended), encoding="utf-8")
    own.chmod(0o700)
    job_id = _accepted(scheduler, scheduler.submission(job, own, log), own, retries_s)
    if job_id is None:
        own.unlink()
        raise ConfigError(
            f"{job.option('scheduler')} does not take the job {job.name}; its answer stands above. Resources come from "
            "the profile: queue, submit_options, mem_mb, runtime"
        )
    records.write(
        job_id,
        {
            "run": run_id, "over": False,
            "scheduler": job.option("scheduler"),
            "script": str(own), "ended": str(ended), "log": str(log),
            "poll_s": float(job.option("poll_s", str(_POLL_S))), "asked": time.time(), "gone": False,
        },
    )  # fmt: skip
    # The sidecar removes the run's file first and then reads the records: one of the two sees this job.
    if records.is_over(run_id):
        cancel([job_id])
        raise ConfigError(f"the run has ended; its last job, {job_id}, is cancelled")
    return job_id


def status(job_id: str) -> str:
    """Return running, success or failed for a submitted job, and print to stderr why it failed.

    While the scheduler does not answer, a job counts as running. One that it does not know counts as failed when two
    questions in a row say so and no exit code has arrived.
    """
    record = records.read(job_id)
    if record is None:
        print(f"job {job_id}: not submitted from {records.FOLDER.parent.parent.parent.absolute()}", file=sys.stderr)
        return "failed"
    if (code := records.exit_code(record)) is not None:
        return _by_code(job_id, record, code)
    if (run_id := records.current_run()) and record.get("run") != run_id:
        # A job of an earlier run that was killed; this one goes on with it.
        record = {**record, "run": run_id}
        records.write(job_id, record)
    if time.time() < record["asked"] + record["poll_s"]:
        return "running"
    state = _scheduler(record["scheduler"]).state(job_id)
    # It may have ended between the two questions.
    if (code := records.exit_code(record)) is not None:
        return _by_code(job_id, record, code)
    over = state is State.FAILED or (state is State.GONE and record["gone"])
    records.write(job_id, {**record, "asked": time.time(), "gone": state is State.GONE, "over": over})
    if state is State.SUCCESS:
        return _succeeded(job_id, record)
    if state is State.FAILED:
        # A job in error may still be in the queue, and would run when somebody clears the error.
        cancel([job_id])
        return _failed(job_id, record, f"ended by {record['scheduler']}, for time or memory perhaps, or cancelled")
    if state is State.GONE and record["gone"]:
        return _failed(job_id, record, f"unknown to {record['scheduler']}, and it left no exit code")
    if state is State.UNREACHABLE:
        print(f"job {job_id}: no answer from {record['scheduler']}; it counts as running", file=sys.stderr)
    return "running"


def cancel(job_ids: Sequence[str], timeout_s: float = _CANCEL_S) -> None:
    """Cancel jobs, with one command per scheduler, which goes on when this process is killed for taking too long.

    Args:
        job_ids: ids of jobs; those without a record are left out.
        timeout_s: seconds to wait for the commands. Jobs of those that end well until then are noted as over.
    """
    by_name: dict[str, dict[str, dict[str, Any]]] = {}
    for job_id in job_ids:
        if record := records.read(job_id):
            by_name.setdefault(record["scheduler"], {})[job_id] = record
    started = [
        subprocess.Popen(
            _scheduler(name).cancellation(list(jobs)),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )
        for name, jobs in by_name.items()
    ]  # fmt: skip
    until = time.monotonic() + timeout_s
    for process, jobs in zip(started, by_name.values(), strict=True):
        try:
            status = process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            continue
        for job_id, record in jobs.items() if status == 0 else ():
            records.write(job_id, {**record, "over": True})


def run(action: str, words: Sequence[str]) -> int:
    """Run a script of the profile: submit SCRIPT, status ID, or cancel ID…; return its exit status.

    A submission goes on in a session of its own, out of reach of Ctrl-C and of Snakemake, which kills the command when
    it is interrupted: a job that the scheduler has taken must have a record.
    """
    if action == "submit":
        if child := os.fork():
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os.setsid()
    try:
        if action == "submit":
            print(submit(Path(words[0])))
        elif action == "status":
            print(status(words[0]))
        else:
            cancel(words)
    except ConfigError as error:
        print(f"{action}: {error}", file=sys.stderr)
        return 1
    return 0


def _scheduler(name: str) -> Scheduler:
    if name not in SCHEDULERS:
        raise ConfigError(f"resource scheduler: {name!r} is none of {', '.join(SCHEDULERS)}; set it in the profile")
    return SCHEDULERS[name]()


def _with_exit_code(text: str, ended: Path) -> str:
    """Return a job script in a subshell, whose exit code goes to a file that appears whole."""
    part, whole = shlex.quote(f"{ended}.part"), shlex.quote(str(ended))
    return f"#!/bin/sh\n(\n{text}\n)\ncode=$?\necho $code > {part} && mv {part} {whole}\nexit $code\n"


def _accepted(scheduler: Scheduler, command: Sequence[str], script: Path, retries_s: Sequence[float]) -> str | None:
    """Submit, again after each wait if the scheduler refuses, and return the id; None if it never takes the job."""
    # With BSUB_QUIET, bsub does not print the id.
    environment = {name: value for name, value in os.environ.items() if name != "BSUB_QUIET"}
    for wait_s in (0.0, *retries_s):
        time.sleep(wait_s)
        if records.is_over(records.current_run()):
            break
        try:
            with script.open("rb") as text:
                done = subprocess.run(
                    command, stdin=text, capture_output=True, text=True, errors="replace", env=environment, check=False
                )
        except FileNotFoundError as error:
            raise ConfigError(
                f"{command[0]} is not on PATH; does the profile's resource scheduler name the right one?"
            ) from error
        if done.returncode == 0 and (job_id := scheduler.submitted_id(done.stdout)):
            return job_id
        print(f"{shlex.join(command)} returned {done.returncode}: {done.stderr or done.stdout}", file=sys.stderr)
    return None


def _by_code(job_id: str, record: dict[str, Any], code: int) -> str:
    return _failed(job_id, record, f"exit code {code}") if code else _succeeded(job_id, record)


def _succeeded(job_id: str, record: dict[str, Any]) -> str:
    """Delete what the job left, an inode each."""
    for path in (records.path_of(job_id), *(Path(record[name]) for name in ("script", "ended", "log"))):
        path.unlink(missing_ok=True)
    return "success"


def _failed(job_id: str, record: dict[str, Any], why: str) -> str:
    print(f"job {job_id}: {why}. Its output: {record['log']}", file=sys.stderr)
    return "failed"
