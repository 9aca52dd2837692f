"""Quality gate in a run by Snakemake: it refuses fakes, rounds count it, and another limit judges nothing again."""

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from face_crops import write_face_crops
from tiny_project import ROOT, tiny_config

from deepfakemnist.tables.files import read_rows

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("quality gate")]

PEOPLE, QUOTA = 3, 2
GOALS = ("results/quota/quota.tsv", "results/report/liveness.html")
#: Identity preservation of a fake is below 1, unless it is the source itself.
NOBODY_PASSES, ALL_PASS = 1.0, -5.0


class Project:
    """Small face crops whose fakes all pass liveness, and a quota with a second round for what the gate refuses."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT / "config", folder / "config")
        self.sections = {
            **write_face_crops(folder, PEOPLE, drivers=2),
            "shard_size": 100,
            "max_failed_fraction": 1.0,
            "plan": {"actions": ["yaw"], "quota": QUOTA, "max_rounds": 2, "expected_pass_rate": 1.0},
            "liveness": tiny_config(folder)["liveness"],
        }

    def run(self, min_identity: float, *words: str) -> str:
        config = self.sections | {"select": {"min_identity": min_identity}}
        (self.folder / "gate.yaml").write_text(yaml.safe_dump(config))
        command = [sys.executable, "-m", "snakemake", "-s", ROOT / "Snakefile", "-d", self.folder, "--cores", "1"]
        done = subprocess.run(
            [*command, "--configfile", self.folder / "gate.yaml", *words, "--", *GOALS], cwd=self.folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-6000:]
        return done.stdout

    def selected(self, rounds: str = "*") -> list[dict]:
        return read_rows(sorted((self.folder / "results/select").glob(f"*@{rounds}.parquet")))

    def quota(self) -> dict:
        with (self.folder / "results/quota/quota.tsv").open(newline="") as file:
            (row,) = csv.DictReader(file, delimiter="\t")
        return row


@pytest.fixture(scope="module")
def refused(tmp_path_factory) -> tuple[Project, str]:
    project = Project(tmp_path_factory.mktemp("gate"))
    return project, project.run(NOBODY_PASSES)


def test_rounds_count_what_the_gate_refuses(refused):
    project, output = refused
    rows = project.selected()
    assert len(rows) > QUOTA, "a second round replaced what the gate refused in the first"
    judged = {row["video_id"]: row for row in read_rows(sorted((project.folder / "results/judge").glob("*.parquet")))}
    for row in rows:
        identity = judged[row["video_id"]]["identity_kept"]
        assert (row["status"], row["reason"], row["quality_passed"]) == ("rejected", "quality", False)
        assert row["detail"] == f"identity {identity:.3g} below select.min_identity 1"
        assert row["tearing"] == judged[row["video_id"]]["tearing"]
    quota = project.quota()
    assert (quota["kept"], quota["accepted"], quota["tried"]) == ("0", "0", str(len(rows)))
    assert "plan.quota is not met for yaw" in output + (project.folder / "results/logs/quota.log").read_text()
    page = (project.folder / "results/report/liveness.html").read_text()
    assert "Accepted by liveness and by quality (min_identity 1)" in page


def test_another_limit_selects_again_and_judges_and_animates_nothing(refused):
    project, _ = refused
    planned = project.run(ALL_PASS, "-n")
    assert "select.min_identity" in planned
    stages = ("ingest", "crop", "extract_motion", "animate", "judge", "liveness")
    # The jobs of round 2 are planned as it was drawn before, until the first round says that nothing is missing.
    assert not [stage for stage in stages if re.search(rf"rule {stage}:(?:(?!rule ).)*shard=\S+@1", planned, re.DOTALL)]
    output = project.run(ALL_PASS)
    assert not [stage for stage in stages if f"rule {stage}:" in output]
    # Those of the first round now fill the quota; nothing asks for the second any more.
    assert {(row["status"], row["quality_passed"]) for row in project.selected("1")} == {("ok", True)}
    assert (project.quota()["kept"], project.quota()["ended"]) == (str(QUOTA), "full")
