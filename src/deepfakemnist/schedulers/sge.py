"""Grid Engine (SGE, Son of, Univa, Altair, Open Cluster Scheduler): qsub, qstat, qacct, qdel."""

from __future__ import annotations

import getpass
import re
from collections.abc import Sequence
from pathlib import Path

from deepfakemnist.schedulers.job import Job, State, ask


class Sge:
    """Grid Engine: memory is per slot, several cores need a parallel environment, and resources have a site's names."""

    def submission(self, job: Job, script: Path, log: Path) -> list[str]:
        """Return the qsub command; Grid Engine keeps a copy of the script."""
        command = ["qsub", "-terse", "-N", job.name, "-S", "/bin/sh", "-j", "y", "-o", str(log)]
        if job.threads > 1:
            command += ["-pe", job.option("parallel_environment", "smp"), str(job.threads)]
        if job.mem_mb:
            command += ["-l", f"{job.option('memory_resource', 'h_vmem')}={job.mem_mb_per_slot}M"]
        if job.runtime is not None:
            command += ["-l", f"h_rt={job.runtime * 60}"]
        if job.gpus:
            command += ["-l", f"{job.option('gpu_resource', 'gpu')}={job.gpus}"]
        if queue := job.option("queue"):
            command += ["-q", queue]
        return [*command, *job.more_options, str(script)]

    def submitted_id(self, output: str) -> str | None:
        """Return the id that -terse prints on a line of its own, or that of ``Your job 123 ("name") …``."""
        found = re.findall(r"^(?:Your job )?(\d+)\b", output, re.MULTILINE)
        return found[-1] if found else None

    def state(self, job_id: str) -> State:
        """Ask qstat for jobs in the queue, and qacct, where there is accounting, for those that ended."""
        listed = ask(["qstat", "-u", getpass.getuser()])
        if listed.status != 0:
            return State.UNREACHABLE
        # job-ID prior name user state …, after two lines of headings
        for words in map(str.split, listed.output.splitlines()):
            if len(words) > 4 and words[0] == job_id:
                # A job in error (Eqw) stays in the queue until somebody clears it.
                return State.FAILED if "E" in words[4] else State.RUNNING
        ended = ask(["qacct", "-j", job_id])
        codes = [re.findall(rf"^{name}\s+(\d+)", ended.output, re.MULTILINE)[-1:] for name in ("failed", "exit_status")]
        if not all(codes):
            return State.GONE
        return State.SUCCESS if codes == [["0"], ["0"]] else State.FAILED

    def cancellation(self, job_ids: Sequence[str]) -> list[str]:
        """Return the qdel command."""
        return ["qdel", *job_ids]
