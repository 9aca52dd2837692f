"""Jobs of a batch scheduler: what Snakemake asks for, the state a scheduler reports, the one client of its commands.

Only the standard library is imported: the profile's scripts run once per job and question.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from deepfakemnist.errors import ConfigError

#: Comment line of Snakemake's job scripts with the job as JSON.
_PROPERTIES = re.compile(r"^# properties = (\{.*\})$", re.MULTILINE)
#: PBS Professional takes 230 characters and LSF 4094; a name is for people.
_LONGEST_NAME = 64


class State(Enum):
    """What a scheduler says of a job."""

    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    #: Not known to the scheduler: long finished, or not yet registered.
    GONE = "gone"
    #: No answer, or one that is about the scheduler and not the job.
    UNREACHABLE = "unreachable"


@dataclass(frozen=True)
class Job:
    """Resources and names of a job of Snakemake, a group of jobs included."""

    name: str
    threads: int
    mem_mb: int
    #: Minutes; None for the queue's default.
    runtime: int | None
    gpus: int
    resources: Mapping[str, Any]

    @classmethod
    def of_script(cls, text: str) -> Job:
        """Return the job that a job script of Snakemake runs. Raises: ConfigError if it does not say."""
        found = _PROPERTIES.search(text)
        if not found:
            raise ConfigError("no line '# properties = {…}' in the job script: it is not one of Snakemake's")
        properties = json.loads(found[1])
        resources = properties["resources"]
        runtime = resources.get("runtime")
        return cls(
            name=_name(properties),
            threads=int(properties["threads"]),
            mem_mb=int(resources.get("mem_mb", 0)),
            runtime=None if runtime is None else max(1, round(float(runtime))),
            gpus=int(resources.get("gpu", 0)),
            resources=resources,
        )

    def option(self, name: str, default: str = "") -> str:
        """Return a resource of the profile that only the scheduler reads, e.g. its queue."""
        return str(self.resources.get(name, default))

    @property
    def more_options(self) -> list[str]:
        """Words of the resource ``submit_options``, which go to the submission command as they are."""
        return shlex.split(self.option("submit_options"))

    @property
    def mem_mb_per_slot(self) -> int:
        """Memory per core, rounded up, for schedulers that multiply it by the cores."""
        return -(-self.mem_mb // self.threads)


class Scheduler(Protocol):
    """A batch scheduler, as far as its commands differ."""

    def submission(self, job: Job, script: Path, log: Path) -> list[str]:
        """Return the command that submits a script; it gets the script on stdin, too."""

    def submitted_id(self, output: str) -> str | None:
        """Return the id in the answer of the submission command; None if there is none."""

    def state(self, job_id: str) -> State:
        """Ask for the state of a job."""

    def cancellation(self, job_ids: Sequence[str]) -> list[str]:
        """Return the command that cancels jobs."""


@dataclass(frozen=True)
class Answer:
    """What a command returned; status None if it could not be started or did not end in time."""

    status: int | None
    output: str
    errors: str


def ask(command: Sequence[str], timeout_s: float = 60) -> Answer:
    """Run a question to the scheduler. Its messages are read, so they are asked for in English."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Answer(None, "", str(error))
    return Answer(done.returncode, done.stdout, done.stderr)


def _name(properties: Mapping[str, Any]) -> str:
    """Return rule and shard, of a group its name and first file, in characters that every scheduler takes in a name."""
    if properties["type"] == "group":
        # No list where there are many files.
        files = map(Path, (properties.get("output") or [])[:1])
        words = [str(properties["groupid"]), *(f"{one.parent.name}-{one.stem}" for one in files)]
    else:
        words = [properties["rule"], *map(str, properties.get("wildcards", {}).values())]
    return re.sub(r"[^A-Za-z0-9_.-]", "_", "-".join(words))[:_LONGEST_NAME]
