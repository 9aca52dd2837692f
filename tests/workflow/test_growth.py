"""Jobs that a finished run plans when people are added or removed, by dry runs on a run whose files are stand-ins."""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml
from tiny_project import ROOT

pytestmark = [pytest.mark.extended, pytest.mark.workflow]

PEOPLE = 60
PER_SHARD = ("animate_shard", "judge", "liveness", "select", "compress", "frames")
ACTIONS = ("blink", "mouth", "yaw", "nod", "up", "smile")


class Run:
    """A run up to the dataset on empty videos: no job runs, its outputs are created empty and marked as up to date."""

    def __init__(self, folder: Path, **config: object) -> None:
        self.folder = folder
        (folder / "videos").mkdir()
        (folder / "drivers.tsv").write_text(
            "driver_id\taction\tpath\n" + "".join(f"d-{name}\t{name}\tvideos/d-{name}.mp4\n" for name in ACTIONS)
        )
        for name in ACTIONS:
            (folder / f"videos/d-{name}.mp4").touch()
        settings = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
        settings["sources"]["sheet"], settings["drivers"]["sheet"] = (
            str(folder / f"{name}.tsv") for name in ("sources", "drivers")
        )
        settings["animator"] = {"name": "mesh"}
        settings["plan"]["actions"] = list(ACTIONS)
        settings["liveness"]["motions"] = str(ROOT / "config/actions.tsv")
        (folder / "run.yaml").write_text(yaml.safe_dump({**settings, "device": "cpu", **config}))

    def write_sheet(self, people: list[str]) -> None:
        lines = ["video_id\tpath\tperson_id"]
        for person in people:
            if not (video := self.folder / f"videos/{person}.mp4").exists():
                video.touch()
            lines.append(f"{person}-1\tvideos/{person}.mp4\t{person}")
        (self.folder / "sources.tsv").write_text("\n".join(lines) + "\n")

    def finish(self) -> None:
        """Create all outputs, and have Snakemake record their inputs, params and code."""
        for path in re.findall(r"^\s+output: (.+)$", self.snakemake("-n"), flags=re.M):
            for one in path.split(", "):
                (self.folder / one).parent.mkdir(parents=True, exist_ok=True)
                (self.folder / one).touch()
        # Without --forceall it records nothing, because nothing is out of date.
        self.snakemake("--touch", "--forceall")

    def planned(self) -> Counter[str]:
        """Return rule → jobs that a dry run plans."""
        stats = self.snakemake("-n").split("Job stats:")[-1]
        return Counter({rule: int(jobs) for rule, jobs in re.findall(r"^(\w+) +(\d+)$", stats, flags=re.M)})

    def snakemake(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", "dataset", *arguments, "--cores", "1", "--snakefile",
             str(ROOT / "Snakefile"), "--directory", str(self.folder), "--configfile", str(self.folder / "run.yaml")],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-6000:]
        return done.stdout


@pytest.mark.parametrize(
    ("clips_per_gpu_job", "most"),
    [
        # The person's shard, and those of the few sources with another action.
        (None, 5),
        # All shards of the GPU jobs in which these are; they take over every video.
        (20, 18),
    ],
)
def test_a_person_more_or_less_plans_the_jobs_of_few_shards(tmp_path, clips_per_gpu_job, most):
    people = [f"id{number:05d}" for number in range(PEOPLE)]
    run = Run(tmp_path, shard_size=4, clips_per_gpu_job=clips_per_gpu_job)
    run.write_sheet(people)
    whole = run.planned()
    run.finish()
    assert "Nothing to be done" in run.snakemake("-n")
    for changed in (people[:50] + people[51:], [*people, "anna"]):
        run.write_sheet(changed)
        planned = run.planned()
        for rule in ("ingest", "crop"):
            assert 1 <= planned[rule] <= 2, planned
        for rule in PER_SHARD:
            # Of real and fake clips.
            assert planned[rule] <= most * (2 if rule in ("compress", "frames") else 1), planned
        assert planned["liveness"] >= 1
        assert planned["plan"] <= 5, planned
        assert planned["total"] <= 0.5 * whole["total"]
