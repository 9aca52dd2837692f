"""Cancellation of the SLURM jobs that Snakemake's executor forgets when a run is interrupted."""

from __future__ import annotations

import subprocess
import sys


def cancel_left(executor: object) -> None:
    """Cancel what is left of a run's jobs, which SLURM knows by the run's name.

    The executor has no list of them while it asks for their states, so that it cancels none then.

    Args:
        executor: the run's executor; nothing is done for one that is not of the plugin ``slurm``.
    """
    if not (name := getattr(executor, "run_uuid", None)):
        return
    command = ["scancel", "--name", name]
    if clusters := getattr(executor, "_submitted_job_clusters", None):
        command += ["--clusters", ",".join(sorted(clusters))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"Jobs of this run may be left: {' '.join(command)} said {done.stderr.strip()}", file=sys.stderr)
