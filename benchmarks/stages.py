"""CPU time of the pipeline by stage, per video: the whole dataset and its audit through Snakemake.

    python benchmarks/stages.py real CLIPS     every clip of CLIPS/sources.tsv and CLIPS/drivers.tsv
    python benchmarks/stages.py demo           the rendered people of ``make demo``, animated by mesh
    python benchmarks/stages.py real CLIPS --keep FOLDER    leave the run there, e.g. to compare the results of two

Settings are the defaults, with two fakes per source. Each script's user and system seconds, with those of its children
and of loading libraries, are written when it ends; shards are as large as they get, so that loading counts once per
stage. Results go to benchmarks/stages.json, beside those of earlier runs, with the commit.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from deepfakemnist.tables.files import column_names, read_table

ROOT = Path(__file__).parents[1]
#: Loaded by every Python process of the run; scripts of rules are named tmp*.STAGE.py by Snakemake.
METER = """
import atexit, os, re, resource, sys
def write():
    found = re.search(r"/scripts/tmp[^/]*\\.(\\w+)\\.py$", sys.argv[0] if sys.argv else "")
    if found:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        seconds = sum(one.ru_utime + one.ru_stime for one in used)
        with open(os.environ["STAGES_FILE"], "a") as file:
            file.write(f"{found[1]}\\t{seconds:.3f}\\t{used[0].ru_maxrss / 1024:.0f}\\n")
atexit.register(write)
"""
#: Stages after which a clip of each kind is there, in the order of the run.
STAGES = (
    "ingest", "crop", "identify", "extract_motion", "reenact", "plan", "animate", "judge", "liveness", "select",
    "compress", "frames", "manifest", "audit_identities", "clip_facts", "audit",
)  # fmt: skip


def main(arguments: argparse.Namespace) -> None:
    folder = Path(arguments.keep or tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    if arguments.clips == "demo":
        write_demo(folder)
    else:
        write_real(folder, Path(arguments.folder).absolute())
    seconds = run(folder)
    found = per_video(folder / "results", seconds)
    path = Path(__file__).with_suffix(".json")
    known = json.loads(path.read_text()) if path.is_file() else {}
    known.setdefault(arguments.clips, {})[arguments.name] = found
    path.write_text(json.dumps(known, indent=2) + "\n")
    print(json.dumps(found, indent=2))
    if not arguments.keep:
        shutil.rmtree(folder)


def write_real(folder: Path, clips: Path) -> None:
    """Write the sheets of the real clips and the config."""
    columns = {
        "sources": ("video_id", "actor_id", "path"),
        "drivers": ("driver_id", "action", "path", "start_s", "end_s"),
    }
    for name, wanted in columns.items():
        with (clips / f"{name}.tsv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        lines = ["\t".join(wanted).replace("actor_id", "person_id")]
        lines += ["\t".join({**row, "path": str(clips / row["path"])}[column] for column in wanted) for row in rows]
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_config(folder)


def write_demo(folder: Path) -> None:
    """Render the people of the demo, and write the config."""
    words = ("--snakefile", ROOT / "workflow/actors.smk", "--configfile", ROOT / "config/actors/demo.yaml")
    sheets = ("resources/demo/sources.tsv", "resources/demo/drivers.tsv")
    call(folder, *words, "--cores", "1", "--quiet", "all")
    write_config(folder, sources={"sheet": sheets[0], "on_bad_row": "row"}, drivers={"sheet": sheets[1]})


def write_config(folder: Path, **sheets: Any) -> None:
    config = {
        "sources": {"sheet": "sources.tsv"},
        "drivers": {"sheet": "drivers.tsv"},
        "shard_size": 1000,
        "max_failed_fraction": 0.5,
        "device": "cpu",
        "animator": {"name": "mesh"},
        "plan": {"actions_per_source": 2},
        "liveness": {"motions": str(ROOT / "config/actions.tsv")},
        **sheets,
    }
    (folder / "own.yaml").write_text(yaml.safe_dump(config))


def run(folder: Path) -> dict[str, tuple[float, float]]:
    """Run the dataset and its audit; return CPU seconds and peak MB of each stage."""
    (folder / "meter").mkdir(exist_ok=True)
    (folder / "meter/sitecustomize.py").write_text(METER)
    (folder / "used.tsv").unlink(missing_ok=True)
    configs = (ROOT / "config/config.yaml", folder / "own.yaml")
    words = ("--snakefile", ROOT / "Snakefile", "--configfile", *configs, "--cores", "1", "--resources", "gpu=1")
    call(folder, *words, "--quiet", "all", "--", "dataset", "results/audit/audit.tsv", "results/report/animation.html")
    seconds: Counter[str] = Counter()
    memory: dict[str, float] = {}
    for line in (folder / "used.tsv").read_text().splitlines():
        stage, used, peak = line.split("\t")
        seconds[stage] += float(used)
        memory[stage] = max(memory.get(stage, 0.0), float(peak))
    return {stage: (seconds[stage], memory[stage]) for stage in seconds}


def call(folder: Path, *words: str | Path) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(folder / "meter"), str(ROOT / "src"))),
        "OMP_NUM_THREADS": "1",
        "STAGES_FILE": str(folder / "used.tsv"),
        "CUDA_VISIBLE_DEVICES": "",
    }
    subprocess.run([sys.executable, "-m", "snakemake", "--directory", folder, *words], check=True, env=environment)


def per_video(results: Path, seconds: dict[str, tuple[float, float]]) -> dict[str, Any]:
    """Return CPU seconds per video of each stage, with the number of videos that it takes, and peak MB."""
    found = {}
    for stage in sorted(seconds, key=lambda name: (STAGES.index(name) if name in STAGES else 99, name)):
        folder = results / stage
        tables = sorted(folder.rglob("*.parquet")) if folder.is_dir() else []
        if stage in ("manifest", "audit_identities", "clip_facts", "audit", "frames"):
            tables = [results / "manifest/videos.parquet"]
        videos = sum(distinct(path) for path in tables if "video_id" in column_names(path))
        total, peak = seconds[stage]
        found[stage] = {
            "videos": videos,
            "cpu_s": round(total, 1),
            "per_video": round(total / max(videos, 1), 3),
            "mb": round(peak),
        }
    return found


def distinct(path: Path) -> int:
    return len(set(read_table(path, ["video_id"])["video_id"].to_pylist()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", choices=("real", "demo"))
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--name", default="now", help="of the figures, e.g. before")
    parser.add_argument("--keep")
    main(parser.parse_args())
