"""IBM Spectrum LSF (and OpenLava): bsub, bjobs, bkill."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from deepfakemnist.schedulers.job import Job, State, ask

#: States in which a job has ended; all others (PEND, RUN, PSUSP, USUSP, SSUSP, WAIT, UNKWN, PROV) may still end well.
_ENDED = {"DONE": State.SUCCESS, "EXIT": State.FAILED, "ZOMBI": State.FAILED}


class Lsf:
    """LSF: memory is reserved, with its unit named, because the unit of a bare number is a setting of the cluster."""

    def submission(self, job: Job, script: Path, log: Path) -> list[str]:
        """Return the bsub command; the script comes on stdin, and LSF keeps a copy of it."""
        command = ["bsub", "-J", job.name, "-oo", str(log), "-n", str(job.threads), "-R", "span[hosts=1]"]
        if job.mem_mb:
            per_slot = job.option("memory_per", "job") == "slot"
            command += ["-R", f"rusage[mem={job.mem_mb_per_slot if per_slot else job.mem_mb}MB]"]
        if job.runtime is not None:
            command += ["-W", str(job.runtime)]
        if job.gpus:
            command += ["-gpu", f"num={job.gpus}"]
        if queue := job.option("queue"):
            command += ["-q", queue]
        return command + job.more_options

    def submitted_id(self, output: str) -> str | None:
        """Return the id in ``Job <123> is submitted to queue <normal>.``."""
        found = re.search(r"Job <(\d+)>", output)
        return found[1] if found else None

    def state(self, job_id: str) -> State:
        """Ask bjobs, which knows a job for CLEAN_PERIOD after its end, an hour by default."""
        answer = ask(["bjobs", "-noheader", "-w", job_id])
        # JOBID USER STAT QUEUE …
        for words in map(str.split, answer.output.splitlines()):
            if len(words) > 2 and words[0] == job_id:
                return _ENDED.get(words[2], State.RUNNING)
        return State.GONE if f"Job <{job_id}> is not found" in answer.errors + answer.output else State.UNREACHABLE

    def cancellation(self, job_ids: Sequence[str]) -> list[str]:
        """Return the bkill command."""
        return ["bkill", *job_ids]
