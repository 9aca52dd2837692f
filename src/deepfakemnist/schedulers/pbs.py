"""PBS Professional and OpenPBS: qsub, qstat, qdel."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from deepfakemnist.schedulers.job import Job, State, ask

#: F finished, X finished part of an array, C completed (Torque's word).
_ENDED = set("FXC")


class Pbs:
    """PBS: one chunk with cores, memory and GPUs, so that a job never spreads over nodes."""

    def submission(self, job: Job, script: Path, log: Path) -> list[str]:
        """Return the qsub command; PBS keeps a copy of the script."""
        chunk = f"select=1:ncpus={job.threads}"
        if job.mem_mb:
            chunk += f":mem={job.mem_mb}mb"
        if job.gpus:
            chunk += f":ngpus={job.gpus}"
        command = ["qsub", "-N", job.name, "-j", "oe", "-o", str(log), "-l", chunk]
        if job.runtime is not None:
            command += ["-l", f"walltime={job.runtime // 60:02d}:{job.runtime % 60:02d}:00"]
        if queue := job.option("queue"):
            command += ["-q", queue]
        return [*command, *job.more_options, str(script)]

    def submitted_id(self, output: str) -> str | None:
        """Return the id ``123.server``, the last line of the answer; a site's hook may print lines before it."""
        found = re.findall(r"^(\d+(?:\.[\w.-]+)?)$", output, re.MULTILINE)
        return found[-1] if found else None

    def state(self, job_id: str) -> State:
        """Ask qstat, with finished jobs (-x) where the server keeps a history of them."""
        answer = ask(["qstat", "-x", "-f", job_id])
        if found := re.search(r"^\s*job_state = (\w)", answer.output, re.MULTILINE):
            if found[1] not in _ENDED:
                return State.RUNNING
            # None for a job that was deleted before it ran; negative if PBS could not run it.
            status = re.search(r"^\s*Exit_status = (-?\d+)", answer.output, re.MULTILINE | re.IGNORECASE)
            return State.SUCCESS if status and int(status[1]) == 0 else State.FAILED
        gone = re.search(r"Unknown Job Id|Job has finished", answer.errors, re.IGNORECASE)
        return State.GONE if gone else State.UNREACHABLE

    def cancellation(self, job_ids: Sequence[str]) -> list[str]:
        """Return the qdel command."""
        return ["qdel", *job_ids]
