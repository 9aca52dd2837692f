"""Cost of planning with the paper preset: CPU seconds and peak memory of Snakemake before and beside the jobs.

    python benchmarks/planning.py [SOURCES ...]    1000 10000 100000 without; a quarter of an hour, and 3 GB below the
                                                   system's temporary folder

For every number of sources, with empty videos and sheets as large as the real ones:

* nothing: ``-n`` without results, in a fresh folder;
* again: the same once more, with the plan and the digests that the first one kept;
* ten rounds: ``-n`` after a run with all rounds, all results present, nothing to do. Results are made by an executor
  that writes empty files, or candidates for the next round, in place of running jobs;
* a job: what the process of one cluster job costs before its script, with ten rounds of results: parsing the workflow
  again and planning that job;
* its script: reading the run's plan in the script, with the imports that this takes.

Limits: 8 s and 400 MB with 10,000 sources, 30 s and 1 GB with 100,000; a job with its script 3 s at any number.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from snakemake.common.configfile import load_configfile
from snakemake.utils import update_config

from deepfakemnist.config.base import ACTIONS
from deepfakemnist.config.load import Config
from deepfakemnist.workflow.plan_pieces import settings_digest

ROOT = Path(__file__).parents[1]
SIZES = (1000, 10_000, 100_000)
DRIVERS_PER_ACTION = 5
#: Share of a round's candidates that the next one has, and how many rounds there are.
NEXT, ROUNDS = 0.4, 10
#: Repetitions of the runs that leave everything as it is.
REPEATS = 3


def main() -> None:
    what = "CPU seconds and peak MB of Snakemake with the paper preset, by number of sources; medians of repeated ones"
    path = Path(__file__).with_suffix(".json")
    results = json.loads(path.read_text())["sources"] if path.exists() else {}
    for size in [int(text) for text in sys.argv[1:]] or SIZES:
        results[str(size)] = measure(size)
        print(size, json.dumps(results[str(size)]), flush=True)
        path.write_text(json.dumps({"what": what, "sources": results}, indent=2) + "\n")


def measure(sources: int) -> dict[str, Any]:
    """Return the figures of one number of sources."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_project(folder, sources)
        found: dict[str, Any] = {"nothing": cost(folder, "-n"), "again": median(folder, "-n")}
        subprocess.run([sys.executable, __file__, "finish", name, str(sources)], check=True, stdout=subprocess.DEVNULL)
        found["ten rounds"] = median(folder, "-n") | {"jobs": len(list((folder / "results/logs").rglob("*.log")))}
        shard = sorted((folder / "results/select").glob("*@1.parquet"))[0].stem
        job = ("--target-jobs", f"select:shard={shard}", "--mode", "remote", "--force", "--nolock", "-n")
        found["a job"] = median(folder, *job)
        script = (
            "import sys; from types import SimpleNamespace as N; from snakemake.utils import update_config as update; "
            "from snakemake.common.configfile import load_configfile as read; config = {}; "
            "[update(config, read(name)) for name in sys.argv[1:]]; "
            "from deepfakemnist.workflow.script import run_plan_of; "
            f"run_plan_of(N(config=config)).first_round.candidates('{shard}')"
        )
        found["its script"] = cost_of(folder, [sys.executable, "-c", script, *configs(folder)])
        return found


def make_project(folder: Path, sources: int) -> None:
    """Write empty videos, the sheets and the config."""
    rng = random.Random(0)
    lines = ["video_id\tperson_id\tpath"]
    for number in range(sources):
        # VoxCeleb1 has 1,251 people, and published crops of it some 15 clips of each.
        person = f"id1{rng.randrange(max(sources // 8, 10)):04d}"
        path = f"videos/{number // 1000:03d}/{number}.mp4"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
        lines.append(f"{person}#{number:011d}#{number:06d}\t{person}\t{path}")
    (folder / "sources.tsv").write_text("\n".join(lines) + "\n")
    lines = ["driver_id\tperson_id\taction\tpath"]
    for action in ACTIONS:
        for number in range(DRIVERS_PER_ACTION):
            (folder / f"videos/{action}-{number}.mp4").touch()
            lines.append(f"{action}-{number}\tactor{number}\t{action}\tvideos/{action}-{number}.mp4")
    (folder / "drivers.tsv").write_text("\n".join(lines) + "\n")
    own = {
        "sources": {"sheet": "sources.tsv"},
        "drivers": {"sheet": "drivers.tsv"},
        "animator": {"name": "mesh", "source_frame": "best"},
        "device": "cpu",
        "liveness": {"motions": str(ROOT / "config/actions.tsv")},
        "plan": {"quota": sources // 10},
        # Nothing is written.
        "disk": {"on_shortage": "warn"},
    }
    (folder / "my.json").write_text(json.dumps(own))


def configs(folder: Path) -> list[str]:
    """Return the config files."""
    return [str(ROOT / "config/config.yaml"), str(ROOT / "config/presets/paper.yaml"), str(folder / "my.json")]


def command(folder: Path, *arguments: str) -> list[str]:
    """Return the command line of Snakemake, without the interpreter."""
    where = ("--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder), "--cores", "8", "--quiet", "all")
    return [*arguments, *where, "--configfile", *configs(folder)]


def cost(folder: Path, *arguments: str) -> dict[str, float]:
    """Return what one run of Snakemake takes."""
    return cost_of(folder, [sys.executable, "-m", "snakemake", *command(folder, *arguments)])


def cost_of(folder: Path, words: list[str]) -> dict[str, float]:
    """Return CPU seconds and peak MB of a process and its children."""
    # As the main process passes it to its jobs.
    plans = sorted((folder / ".snakemake/deepfakemnist").glob("plan-*"))
    named = {"DEEPFAKEMNIST_GPUS": "0"}
    if plans:
        raw: dict[str, Any] = {}
        for path in configs(folder):
            update_config(raw, load_configfile(path))
        named["DEEPFAKEMNIST_PLAN"] = (
            f"{settings_digest(Config.model_validate(raw))}={plans[0].stem.removeprefix('plan-')}"
        )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", **named}
    process = subprocess.Popen(words, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = process.stderr.read().decode()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(words)}\n{said[-4000:]}")
    return {"cpu_s": round(used.ru_utime + used.ru_stime, 1), "mb": round(used.ru_maxrss / 1024)}


def median(folder: Path, *arguments: str) -> dict[str, float]:
    """Return the medians of several runs."""
    found = [cost(folder, *arguments) for _ in range(REPEATS)]
    return {name: statistics.median(one[name] for one in found) for name in found[0]}


def finish(folder: Path, sources: int) -> None:
    """Give a project all results, by running the workflow with an executor that writes them at once."""
    from snakemake.cli import main as snakemake
    from snakemake.executors import touch
    from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo

    from deepfakemnist.planning.assignment import Assignment
    from deepfakemnist.planning.rounds import write_candidates
    from deepfakemnist.tables.file_versions import to_metadata, versions_of
    from deepfakemnist.tables.files import write_table
    from deepfakemnist.tables.schemas import INGESTED

    rows = [line.split("\t") for line in (folder / "sources.tsv").read_text().splitlines()[1:]]

    def candidates(number: int) -> list[Assignment]:
        rng = random.Random(number)
        count = round(sources * NEXT ** (number - 1)) if number <= ROUNDS else 0
        return [
            Assignment(video, person, rng.choice(ACTIONS), "train", place, number)
            for place, (video, person, _) in enumerate(rng.sample(rows, count))
        ]

    def run_job(self: Any, job: Any) -> None:
        for path in map(Path, [*job.output, *job.log]):
            path.parent.mkdir(parents=True, exist_ok=True)
            if job.rule.name == "draw_candidates" and path in map(Path, job.output):
                write_candidates(candidates(int(job.wildcards.round)), path)
            elif job.rule.name == "ingest" and path in map(Path, job.output):
                write_table([], path, INGESTED, metadata=to_metadata(versions_of(map(str, job.input))))
            else:
                path.touch()
        self.report_job_submission(SubmittedJobInfo(job=job))
        self.report_job_success(SubmittedJobInfo(job=job))

    touch.Executor.run_job = run_job
    os.chdir(folder)
    snakemake(command(folder, "--touch"))


if __name__ == "__main__":
    if sys.argv[1:2] == ["finish"]:
        finish(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
