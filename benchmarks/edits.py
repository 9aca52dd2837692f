"""Jobs that an edit of a finished run plans, by dry runs on stand-ins.

    python benchmarks/edits.py [--checkout PATH]    prints the table and writes benchmarks/edits.json; five minutes

A run of 24 people with one video each, three drivers an action, two detectors on two qualities, ``shard_size: 4``. No
job runs: its files are empty and Snakemake is told that they are up to date. Of an edit, what is planned is counted, in
all and of those rules that make videos or detectors; then it is undone. ``--checkout`` counts for another version of
the project, whose packages this Python has.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

ACTIONS = ("blink", "mouth", "yaw", "nod", "up", "smile")
PEOPLE, DRIVERS = 24, 3
#: Rules whose jobs cost time on every video, or hours.
COSTLY = ("ingest", "crop", "animate", "judge", "liveness", "compress", "frames", "train")
#: A time long past, as ``cp -p`` and ``rsync -t`` leave it.
OLD = (10**18, 10**18)


class Run:
    """A finished run on stand-ins, and its sheets and config before any edit."""

    def __init__(self, folder: Path, checkout: Path) -> None:
        self.folder, self.checkout = folder, checkout
        shutil.copytree(checkout / "config", folder / "config")
        (folder / "videos").mkdir()
        self.sources = [{"id": f"p{number}-1", "person": f"p{number}", "licence": "CC-BY"} for number in range(PEOPLE)]
        self.config: dict[str, Any] = yaml.safe_load((checkout / "config/config.yaml").read_text(encoding="utf-8"))
        self.config |= {"device": "cpu", "shard_size": 4, "animator": {"name": "mesh"}}
        self.config["sources"]["sheet"], self.config["drivers"]["sheet"] = "sources.tsv", "drivers.tsv"
        self.config["plan"]["actions"] = list(ACTIONS)
        self.config["training"] = {
            "detectors": [{"name": "meso4"}, {"name": "xception", "weights": "none"}], "trained_on": ["raw", "c23"],
        }  # fmt: skip
        lines = ["driver_id\taction\tperson_id\tpath"]
        for action in ACTIONS:
            for number in range(DRIVERS):
                lines.append(f"{action}-{number}\t{action}\td{number}\tvideos/{action}-{number}.mp4")
                (folder / f"videos/{action}-{number}.mp4").touch()
        (folder / "drivers.tsv").write_text("\n".join(lines) + "\n")

    def write(self, sources: list[dict[str, str]], config: dict[str, Any]) -> None:
        """Write sheet and config, and the videos that are missing."""
        lines = ["video_id\tpath\tperson_id\tlicence"]
        for row in sources:
            if not (video := self.folder / f"videos/{row['id']}.mp4").exists():
                video.touch()
            lines.append(f"{row['id']}\tvideos/{row['id']}.mp4\t{row['person']}\t{row['licence']}")
        (self.folder / "sources.tsv").write_text("\n".join(lines) + "\n")
        (self.folder / "run.yaml").write_text(yaml.safe_dump(config))

    def finish(self) -> int:
        """Create every output and have Snakemake record inputs, params and code; return the number of jobs."""
        self.write(self.sources, self.config)
        listed = self.snakemake("-n")
        for outputs in re.findall(r"^\s+output: (.+)$", listed, flags=re.M):
            for path in outputs.split(", "):
                (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
                (self.folder / path).touch()
        # Without --forceall it records nothing, because nothing is out of date.
        self.snakemake("--touch", "--forceall")
        return planned(listed)["total"]

    def snakemake(self, *words: str) -> str:
        """Return what Snakemake prints."""
        command = [sys.executable, "-m", "snakemake", *words, "--cores", "1", "--snakefile"]
        command += [str(self.checkout / "Snakefile"), "--configfile", "run.yaml"]
        environment = {**os.environ, "PYTHONPATH": str(self.checkout / "src")}
        done = subprocess.run(
            command, cwd=self.folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            check=False,
        )  # fmt: skip
        if done.returncode:
            sys.exit(done.stdout[-4000:])
        return done.stdout


def planned(output: str) -> Counter[str]:
    """Return rule → jobs in the output of a dry run; total counts all but the target, which runs nothing."""
    table = output.split("Job stats:")[-1]
    jobs = Counter({rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", table, flags=re.M)})
    for target in ("all", "dataset"):
        jobs["total"] -= jobs.pop(target, 0)
    return jobs


Edit = Callable[[Run, list[dict[str, str]], dict[str, Any]], None]


def licences(run: Run, sources: list[dict[str, str]], config: dict[str, Any]) -> None:
    """State another licence for half of the sources."""
    for row in sources[::2]:
        row["licence"] = "CC0-1.0"


def one_more(run: Run, sources: list[dict[str, str]], config: dict[str, Any]) -> None:
    """Add a person."""
    sources.append({"id": "anna-1", "person": "anna", "licence": "CC-BY"})


def one_less(run: Run, sources: list[dict[str, str]], config: dict[str, Any]) -> None:
    """Remove a person from the sheet."""
    del sources[7]


def excluded(run: Run, sources: list[dict[str, str]], config: dict[str, Any]) -> None:
    """Exclude a person by list."""
    (run.folder / "exclude.tsv").write_text("person_id\treason\np7\trequest of the person\n")
    config["sources"]["exclude"] = "exclude.tsv"


def crf(run: Run, sources: list[dict[str, str]], config: dict[str, Any]) -> None:
    """Change a quality."""
    config["compress"]["qualities"]["c23"] = {"crf": 24}


def threshold(run: Run, sources: list[dict[str, str]], config: dict[str, Any]) -> None:
    """Change what a liveness provider accepts."""
    config["liveness"]["providers"][0]["strength"] = 0.7


def frames(run: Run, sources: list[dict[str, str]], config: dict[str, Any]) -> None:
    """Store other frames."""
    config["frames"]["per_clip"] = 5


def driver(run: Run, sources: list[dict[str, str]], config: dict[str, Any]) -> None:
    """Replace a driver by a file with an old time."""
    path = run.folder / "videos/nod-0.mp4"
    path.unlink()
    path.write_bytes(b"another")
    os.utime(path, ns=OLD)


def source(run: Run, sources: list[dict[str, str]], config: dict[str, Any]) -> None:
    """Replace a source by a file with an old time."""
    path = run.folder / "videos/p3-1.mp4"
    path.unlink()
    path.write_bytes(b"another")
    os.utime(path, ns=OLD)


EDITS: dict[str, tuple[Edit, ...]] = {
    "licence of 12 sources": (licences,),
    "one person more": (one_more,),
    "one person less": (one_less,),
    "one person excluded by list": (excluded,),
    "compress.qualities.c23.crf": (crf,),
    "threshold of a liveness provider": (threshold,),
    "frames.per_clip": (frames,),
    "a driver replaced, old time": (driver,),
    "a source replaced, old time": (source,),
    "crf and a source replaced": (crf, source),
    "one person less and a driver replaced": (one_less, driver),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    here = Path(__file__).parents[1]
    parser.add_argument("--checkout", type=Path, default=here, help="folder of the version to count for")
    checkout = parser.parse_args().checkout.resolve()
    results: dict[str, dict[str, int]] = {}
    with tempfile.TemporaryDirectory() as name:
        run = Run(Path(name), checkout)
        total = run.finish()
        print(f"{total} jobs in all; planned again: {planned(run.snakemake('-n'))['total']}")
        for edit, changes in EDITS.items():
            videos = run.folder / "videos"
            aside = shutil.copytree(videos, run.folder / "aside")
            sources, config = [dict(row) for row in run.sources], json.loads(json.dumps(run.config))
            for change in changes:
                change(run, sources, config)
            run.write(sources, config)
            jobs = planned(run.snakemake("-n"))
            results[edit] = {"total": jobs["total"], **{rule: jobs[rule] for rule in COSTLY if jobs[rule]}}
            print(f"{edit:40}{json.dumps(results[edit])}", flush=True)
            replaced = [path for path in videos.iterdir() if (aside / path.name).exists() and path.stat().st_size]
            for path in videos.iterdir():
                if not (aside / path.name).exists():
                    path.unlink()
            for path in replaced:
                shutil.copy2(aside / path.name, path)
            if replaced:
                # Put back, a file has another time, and empty tables do not tell what it was like before.
                run.write(run.sources, run.config)
                run.snakemake("--touch", "--forceall")
            shutil.rmtree(aside)
    what = f"jobs planned after an edit of a finished run of {PEOPLE} people, {total} jobs, shard_size 4"
    if checkout == here:
        Path(__file__).with_suffix(".json").write_text(json.dumps({"what": what, "edits": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
