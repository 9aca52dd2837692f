"""Records of submitted jobs, and of the run of Snakemake that they belong to.

A run has a file that exists as long as it does, made by :mod:`deepfakemnist.schedulers.sidecar`. Snakemake hands its
path to the other commands; without the sidecar there is none, and the run is an empty text.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: Where records lie, below the folder in which Snakemake works.
FOLDER = Path(".snakemake", "deepfakemnist", "jobs")
#: Environment variable in which Snakemake hands the first line of the sidecar on.
_RUN = "SNAKEMAKE_CLUSTER_SIDECAR_VARS"


def current_run() -> str:
    """Return the file of the run that this command belongs to; an empty text if it is not known."""
    return os.environ.get(_RUN, "")


def is_over(run: str) -> bool:
    """Return whether a run has ended. One that is not known goes on."""
    return bool(run) and not Path(run).exists()


def path_of(job_id: str) -> Path:
    """Return the file of a job's record."""
    return FOLDER / f"{job_id}.json"


def write(job_id: str, record: Mapping[str, Any]) -> None:
    """Write a job's record, whole or not at all."""
    path = path_of(job_id)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(record), encoding="utf-8")
    part.replace(path)


def read(job_id: str) -> dict[str, Any] | None:
    """Return a job's record; None if it has none, or none any more."""
    try:
        record: dict[str, Any] = json.loads(path_of(job_id).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record


def exit_code(record: Mapping[str, Any]) -> int | None:
    """Return the exit code that a job has left; None before its end, and if its scheduler has ended it."""
    try:
        return int(Path(record["ended"]).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def unfinished(run: str) -> list[str]:
    """Return the ids of a run's jobs that have not ended, as far as their records say, and are not cancelled."""
    found = []
    for path in sorted(FOLDER.glob("*.json")):
        record = read(path.stem)
        if record and record.get("run") == run and not record.get("over") and exit_code(record) is None:
            found.append(path.stem)
    return found
