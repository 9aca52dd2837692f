"""Jobs that take their own finished work over when they run again, for rules whose result is no table of videos."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deepfakemnist.tables.checksums import file_facts
from deepfakemnist.tables.kept_results import KeptResults
from deepfakemnist.tables.locks import exclusive


@contextmanager
def finished_once(snakemake: Any, script: str) -> Iterator[KeptResults]:
    """Yield the results of a script's job, which no other process writes meanwhile.

    Args:
        snakemake: the job.
        script: the file of the script.
    """
    outputs = [Path(path) for path in snakemake.output]
    with exclusive(outputs[0]):
        yield KeptResults(outputs, job_digest(snakemake, script))


def job_digest(snakemake: Any, script: str) -> str:
    """Return a digest of what decides the results of a job: inputs by content, params with their code digests, script.

    The same as what makes Snakemake run a job again, except that a file's time counts for nothing.
    """
    facts = {
        "rule": snakemake.rule,
        "wildcards": dict(snakemake.wildcards.items()),
        "params": [list(snakemake.params), dict(snakemake.params.items())],
        "inputs": [file_facts(path).sha256 for path in snakemake.input],
        "script": file_facts(script).sha256,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
