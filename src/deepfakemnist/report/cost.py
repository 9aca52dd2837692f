"""Cost of a run by stage, as its jobs and files have it: processor and GPU hours, memory, disk, paid answers."""

from __future__ import annotations

import csv
import math
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq

from deepfakemnist.tables.schemas import OK

#: Stages in the order of the workflow; others follow by name.
STAGE_ORDER = (
    "choose_sources", "ingest", "crop", "identify", "extract_motion", "training_clips", "train_animator", "plan",
    "draw_candidates", "animate", "reenact", "judge", "liveness", "select", "quota", "import_released", "compress",
    "frames", "captions", "manifest", "clip_facts", "audit", "audit_identities", "train", "predict", "predict_dataset",
    "predict_perturbed", "measure", "evaluate", "release",
)  # fmt: skip
#: Folders below the results whose files belong to another stage.
_FOLDERS = {
    "liveness_answers": "liveness",
    "candidates": "draw_candidates",
    "detectors": "train",
    "evaluation": "evaluate",
    ".": "other files",
}


@dataclass
class StageCost:
    """What the finished jobs of a stage took; a job that ran several times counts as its last run.

    Args:
        stage: rule, or folder below the results.
        jobs: jobs with a record of their time.
        wall_s, cpu_s: seconds, summed over jobs; ``cpu_s`` in user and system mode of all processes of the job.
        gpu_s: seconds for which jobs held a GPU, times the GPUs that they requested.
        memory_mb: largest resident set of a job, MB.
        disk_bytes: space that the stage's files take.
    """

    stage: str
    jobs: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    gpu_s: float = 0.0
    memory_mb: float = 0.0
    disk_bytes: int = 0


@dataclass(frozen=True)
class PaidAnswers:
    """Answers of a liveness provider that cost money, and their sum in the currency of its contract."""

    provider: str
    answers: int
    cost: float


@dataclass(frozen=True)
class RunCost:
    """Cost of a run."""

    stages: list[StageCost]
    paid: list[PaidAnswers] = field(default_factory=list)

    @property
    def cpu_s(self) -> float:
        """Processor time of all jobs, seconds."""
        return sum(one.cpu_s for one in self.stages)

    @property
    def job_s(self) -> float:
        """Wall time of all jobs, seconds; jobs that ran side by side count each."""
        return sum(one.wall_s for one in self.stages)

    @property
    def gpu_s(self) -> float:
        """Seconds for which jobs held GPUs, times the GPUs."""
        return sum(one.gpu_s for one in self.stages)

    @property
    def disk_bytes(self) -> int:
        """Space that the results take."""
        return sum(one.disk_bytes for one in self.stages)


def run_cost(results: Path, benchmarks: Path, gpus: Mapping[str, int], verdicts: Sequence[Path] = ()) -> RunCost:
    """Return the cost of a run from the files that it has left.

    Args:
        results: folder of the results.
        benchmarks: folder of the benchmark files, below ``results`` as a rule.
        gpus: stage → GPUs that each of its jobs requests; stages without any are left out.
        verdicts: VERDICTS tables.
    """
    stages: dict[str, StageCost] = {}
    for path in sorted(benchmarks.rglob("*.tsv")):
        name = path.relative_to(benchmarks).parts[0].removesuffix(".tsv")
        cost = stages.setdefault(name, StageCost(name))
        for row in _benchmark_rows(path):
            cost.jobs += 1
            cost.wall_s += row["s"]
            cost.cpu_s += row["cpu_time"]
            cost.gpu_s += row["s"] * gpus.get(name, 0)
            cost.memory_mb = max(cost.memory_mb, row["max_rss"])
    for name, size in _disk_use(results).items():
        stage = _FOLDERS.get(name, name)
        stages.setdefault(stage, StageCost(stage)).disk_bytes += size
    order = {name: place for place, name in enumerate(STAGE_ORDER)}
    return RunCost(
        sorted(stages.values(), key=lambda one: (order.get(one.stage, len(order)), one.stage)), _paid(verdicts)
    )


def _benchmark_rows(path: Path) -> Iterator[dict[str, float]]:
    """Yield time and memory of a job; what the system did not tell (NA) counts as 0."""
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            yield {name: _number(row.get(name)) for name in ("s", "cpu_time", "max_rss")}


def _number(text: str | None) -> float:
    try:
        value = float(text or 0)
    except ValueError:
        return 0.0
    return value if math.isfinite(value) else 0.0


def _disk_use(results: Path) -> dict[str, int]:
    """Return the first folder below the results → bytes on disk; a file with two names counts once."""
    used: dict[str, int] = defaultdict(int)
    seen: set[tuple[int, int]] = set()
    for folder, _, names in os.walk(results):
        below = Path(folder).relative_to(results).parts
        for name in names:
            try:
                stat = (Path(folder) / name).lstat()
            except FileNotFoundError:  # a job beside this one has renamed it
                continue
            if stat.st_nlink > 1:
                if (stat.st_dev, stat.st_ino) in seen:
                    continue
                seen.add((stat.st_dev, stat.st_ino))
            used[below[0] if below else "."] += stat.st_blocks * 512
    return used


def _paid(verdicts: Sequence[Path]) -> list[PaidAnswers]:
    answers: dict[str, int] = defaultdict(int)
    costs: dict[str, float] = defaultdict(float)
    for path in verdicts:
        table = pq.read_table(path, columns=["provider", "status", "cost"]).to_pylist()
        for row in table:
            if row["status"] == OK and row["cost"]:
                answers[row["provider"]] += 1
                costs[row["provider"]] += row["cost"]
    return [PaidAnswers(name, answers[name], costs[name]) for name in sorted(answers)]
