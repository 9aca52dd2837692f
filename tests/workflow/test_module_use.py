"""The workflow as a module of another one, with a config of its own, and by the catalogue's entry point."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from snakemake.utils import update_config
from tiny_project import ROOT, make_project, tiny_environment

pytestmark = pytest.mark.workflow

OUTER = f"""
configfile: "outer.yaml"

module deepfakes:
    snakefile: "{ROOT}/workflow/Snakefile"
    config: config["deepfakes"]

use rule * from deepfakes as deepfakes_*

rule count:
    default_target: True
    input:
        "fakes/manifest/videos.parquet",
    output:
        "count.txt",
    shell:
        "wc -c {{input}} > {{output}}"
"""


@pytest.fixture(scope="module")
def outer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another workflow's folder, whose Snakefile uses ours; sheets and weights are those of the tiny project."""
    project = make_project(tmp_path_factory.mktemp("outer"))
    # A module gets its config from the outer workflow alone: all of it, as deployment from the catalogue copies it.
    ours = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    update_config(ours, yaml.safe_load((project.folder / "tiny.yaml").read_text()))
    update_config(ours, {"pathvars": {"results": "fakes"}, "evaluation": {"datasets": {"other": "fakes/manifest"}}})
    # Another value under a key of ours, to be confused with it.
    (project.folder / "outer.yaml").write_text(yaml.safe_dump({"seed": "none", "deepfakes": ours}))
    (project.folder / "Snakefile").write_text(OUTER)
    return project.folder


def snakemake(folder: Path, *words: str) -> str:
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--directory", str(folder), *words]
    done = subprocess.run(
        command, capture_output=True, text=True, env=tiny_environment(), timeout=600, check=False, cwd=folder
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def test_a_module_plans_every_stage_under_its_prefix(outer: Path) -> None:
    planned = snakemake(outer, "-n")
    for rule in ("ingest", "crop", "extract_motion", "plan", "animate", "liveness", "compress", "frames", "manifest"):
        assert f"deepfakes_{rule} " in planned
    assert "deepfakes_train " not in planned


def test_scripts_of_a_module_get_the_modules_config(outer: Path) -> None:
    (table, *_) = re.findall(r"fakes/crop/driver/\S+\.parquet", snakemake(outer, "-n"))
    snakemake(outer, "--", table)
    row, *_ = pq.read_table(outer / table).to_pylist()
    assert (row["role"], row["status"]) == ("driver", "ok")
    assert (outer / row["path"]).is_file() and row["path"].startswith("fakes/crop/driver/")


def test_the_catalogues_entry_point_is_the_workflow(outer: Path) -> None:
    words = ("--snakefile", f"{ROOT}/workflow/Snakefile", "--configfile", str(outer / "tiny.yaml"), "-n")
    assert "train_animator " in snakemake(outer, *words)


def test_the_catalogues_settings_name_what_there_is() -> None:
    catalogue = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert catalogue["report"] and catalogue["software-stack-deployment"]["conda"]
    assert (ROOT / "config/README.md").is_file() and any((ROOT / "envs").glob("*.yaml"))
