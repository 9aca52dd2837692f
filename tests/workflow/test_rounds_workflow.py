"""Sampling rounds run by Snakemake until the quota is met, with a simulated vendor that rejects two of three."""

import csv
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from face_crops import write_face_crops
from simulated_vendors import ENVIRONMENT, vendors

from deepfakemnist.config.stages import PlanSettings
from deepfakemnist.liveness.simulator.witness import Observation
from deepfakemnist.planning.rounds import draw_candidates, read_candidates, read_outcomes
from deepfakemnist.tables.files import read_rows

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("rounds workflow")]

ROOT = Path(__file__).parents[2]
PEOPLE, CLIPS, QUOTA = 5, 2, 3
ACTIONS = ("yaw", "mouth")
MANIFEST = "first/manifest/videos.parquet"


class EveryThird:
    """Classifies every third distinct upload as live, in order of arrival; repeated uploads get the same verdict."""

    def __init__(self):
        self.first_seen = {}

    def video(self, data, motions):
        order = self.first_seen.setdefault(hashlib.sha256(data).digest(), len(self.first_seen))
        live = order % 3 == 2
        return Observation(readable=True, seconds=1.0, face=True, live=live, motions=dict.fromkeys(motions, 2.0 * live))


class Project:
    """Small face crops as sources, drivers of two actions, and one simulated vendor."""

    def __init__(self, folder, address):
        self.folder, self.address = folder, address
        shutil.copytree(ROOT / "config", folder / "config")
        self.sections = write_face_crops(folder, PEOPLE, drivers=3, clips=CLIPS, actions=ACTIONS)

    def configure(self, name, clips_per_gpu_job=None, **plan):
        upload = {"min_side": 32, "min_seconds": 0.2}
        vendor = {"provider": "tianyan", "base_url": self.address, "qps": 100, "upload": upload}
        config = {
            **self.sections,
            "pathvars": {"results": name},
            "shard_size": 100,
            "clips_per_gpu_job": clips_per_gpu_job,
            "max_failed_fraction": 1.0,
            "plan": {
                "actions": list(ACTIONS), "quota": QUOTA, "max_rounds": 9, "expected_pass_rate": 1.0,
                "reals": "of_fakes", "val_fraction": 0.2, "test_fraction": 0.2, **plan,
            },
            "liveness": {"providers": [vendor], "answers": "answers"},
            "frames": {"per_clip": 1},
        }  # fmt: skip
        (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(config))

    def start(self, name, *words):
        command = [sys.executable, "-m", "snakemake", "-s", ROOT / "Snakefile", "-d", self.folder, "--cores", "1"]
        return subprocess.Popen(
            [*command, "--configfile", self.folder / f"{name}.yaml", *words], cwd=self.folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
            env={**os.environ, **ENVIRONMENT, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def run(self, name, *words, expect=0):
        process = self.start(name, *words)
        output, _ = process.communicate(timeout=600)
        assert process.returncode == expect, output[-6000:]
        return output

    def rows(self, name, stage):
        return read_rows(sorted((self.folder / name / stage).glob("*.parquet")))

    def quota_table(self, name):
        with (self.folder / name / "quota/quota.tsv").open(newline="") as file:
            return {row["action"]: row for row in csv.DictReader(file, delimiter="\t")}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    with vendors(EveryThird()) as (_, address):
        yield Project(tmp_path_factory.mktemp("rounds"), address)


@pytest.fixture(scope="module")
def finished(project):
    """The project after its rounds, killed once on the way, with the output of the dry run and of the run."""
    project.configure("first")
    before = project.run("first", "-n", "-q", "rules", "--", MANIFEST)
    process = project.start("first", "--", MANIFEST)
    deadline = time.monotonic() + 300
    while not (project.folder / "first/rounds/round2.parquet").exists():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    output = process.stdout.read()
    process.wait()
    assert not (project.folder / "first/select/shard-0000@2.parquet").exists()
    project.run("first", "--unlock")
    return project, before, output + project.run("first", "--", MANIFEST)


def test_the_quota_is_met_exactly_after_several_rounds(finished):
    project, before, output = finished
    planned = project.rows("first", "plan")
    rounds = Counter(row["round"] for row in planned)
    assert len(rounds) >= 3
    assert rounds[1] == len(ACTIONS) * QUOTA
    assert {path.stem for path in (project.folder / "first/select").glob("*")} == {
        f"shard-0000@{number}" for number in rounds
    }
    videos = [row for row in read_rows(project.folder / MANIFEST) if row["quality"] == "c23"]
    fakes = [row for row in videos if row["label"] == 1]
    assert Counter(row["action"] for row in fakes) == dict.fromkeys(ACTIONS, QUOTA)
    assert {row["video_id"]: row["round"] for row in planned}.items() >= {
        row["video_id"]: row["round"] for row in fakes
    }.items()
    # One fake per source, and no real without a fake.
    reals = {row["video_id"]: row for row in videos if row["label"] == 0}
    assert sorted(reals) == sorted(row["source_id"] for row in fakes)
    assert all(row["split"] == reals[row["source_id"]]["split"] for row in fakes)
    alone = {
        row["video_id"] for row in read_rows(project.folder / "first/manifest/ledger.parquet")
        if row["reason"] == "no_fake_kept"
    }  # fmt: skip
    assert len(alone) == PEOPLE * CLIPS - len(reals)
    assert {(row["wanted"], row["kept"], row["ended"]) for row in project.quota_table("first").values()} == {
        (str(QUOTA), str(QUOTA), "full")
    }
    assert "is not met" not in output
    # The dry run lists the jobs of the first round and announces that more may follow.
    for text in (before, output):
        assert "Round 2 is sampled after the liveness verdicts of earlier rounds; jobs of later rounds" in text
    assert re.search(r"^animate +1$", before, flags=re.M)
    assert re.search(r"^draw_candidates +1$", before, flags=re.M)
    assert "These are the clips planned so far" in output


def test_a_second_run_has_nothing_to_do(finished):
    project, *_ = finished
    output = project.run("first", "-n", "--", MANIFEST)
    assert "Nothing to be done" in output
    assert "is sampled after the liveness verdicts" not in output


@pytest.mark.extended
def test_rounds_with_several_shards_per_job_give_the_same_result(finished):
    project, *_ = finished
    project.configure("batched", clips_per_gpu_job=1)
    project.run("batched", "--", "batched/quota/quota.tsv")
    assert project.quota_table("batched") == project.quota_table("first")
    made = [
        {row["video_id"]: row["pixels_sha256"] for row in project.rows(name, "animate")}
        for name in ("first", "batched")
    ]
    assert made[0] == made[1]
    rounds = {row["round"] for row in project.rows("first", "plan")}
    folder = project.folder / "batched/gpu/animate"
    assert {path.stem for path in folder.glob("*.parquet")} == {f"batch-0000@{number}" for number in rounds}
    assert "Nothing to be done" in project.run("batched", "-n", "--", "batched/quota/quota.tsv")


def test_the_report_shows_the_quota(finished):
    project, *_ = finished
    project.run("first", "--report", "report.html", "--", MANIFEST)
    text = (project.folder / "report.html").read_text(encoding="utf-8")
    assert "Accepted animations per action against the quota" in text


def test_every_round_follows_from_the_earlier_verdicts_despite_the_kill(finished):
    project, *_ = finished
    folder = project.folder / "first"
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    plan = PlanSettings(**config["plan"] | yaml.safe_load((project.folder / "first.yaml").read_text())["plan"])
    rounds = len(list((folder / "select").glob("*")))
    with (project.folder / "sources.tsv").open() as sources, (project.folder / "drivers.tsv").open() as drivers:
        pool = [list(csv.DictReader(file, delimiter="\t")) for file in (sources, drivers)]
    for number in range(1, rounds + 2):
        tables = [
            [folder / f"{stage}/shard-0000@{n}.parquet" for n in range(1, number)] for stage in ("plan", "select")
        ]
        expected = draw_candidates(*pool, plan, config["seed"], read_outcomes(*tables, QUOTA))
        if number > 1:
            drawn = read_candidates(folder / f"rounds/round{number}.parquet")
            assert drawn == [replace(one, animator="mesh") for one in expected]
        if number <= rounds:
            planned = read_rows(folder / f"plan/shard-0000@{number}.parquet")
            assert [(row["source_id"], row["action"], row["plan_order"]) for row in planned] == [
                (one.source_id, one.action, one.plan_order) for one in expected
            ]
    assert expected == []


@pytest.mark.extended
@pytest.mark.parametrize("clips_per_gpu_job", [None, 1])
def test_rounds_that_are_drawn_again_are_those_of_a_fresh_run(project, clips_per_gpu_job):
    """Candidate tables of the earlier run, from which Snakemake first lists jobs, leave nothing behind."""
    name = f"edited{clips_per_gpu_job}"
    project.configure(name, clips_per_gpu_job)
    project.run(name, "--", f"{name}/manifest/videos.parquet")
    before = {row["video_id"] for row in project.rows(name, "plan")}
    plan = {"quota": QUOTA - 1, "expected_pass_rate": 0.5}
    for again in (name, f"fresh{clips_per_gpu_job}"):
        project.configure(again, clips_per_gpu_job, **plan)
        project.run(again, "--", f"{again}/manifest/videos.parquet")
        assert "Nothing to be done" in project.run(again, "-n", "--", f"{again}/manifest/videos.parquet")
    made = []
    for again in (name, f"fresh{clips_per_gpu_job}"):
        shards = {row["video_id"] for row in read_rows(project.folder / again / "manifest/videos.parquet")}
        table = {action: (row["kept"], row["tried"]) for action, row in project.quota_table(again).items()}
        made.append((shards, table))
    assert made[0] == made[1]
    assert before != {row["video_id"] for row in project.rows(f"fresh{clips_per_gpu_job}", "plan")}


def test_an_exhausted_pool_ends_the_rounds_with_a_quota_table_or_an_error(finished):
    project, *_ = finished
    sources = PEOPLE * CLIPS
    plan = {"actions": ["mouth"], "quota": sources + 1}
    (project.folder / "drivers.tsv").rename(project.folder / "all.tsv")
    lines = (project.folder / "all.tsv").read_text().splitlines()
    (project.folder / "drivers.tsv").write_text("\n".join([lines[0], lines[2]]) + "\n")
    project.configure("short", **plan)
    output = project.run("short", "--", "short/quota/quota.tsv")
    assert "plan.quota is not met for mouth:\nanimator\taction\twanted\tkept\taccepted\ttried" in output
    row = project.quota_table("short")["mouth"]
    assert (row["wanted"], row["tried"], row["ended"]) == (str(sources + 1), str(sources), "pool empty")
    assert int(row["kept"]) == int(row["accepted"]) == pytest.approx(sources * float(row["pass_rate"]), abs=1e-3)
    assert "pool empty" in (project.folder / "short/report/quota.html").read_text()
    project.configure("short", **plan, on_shortfall="fail")
    output = project.run("short", "--", "short/quota/quota.tsv", expect=1)
    assert "plan.quota is not met for mouth" in output
    assert "Add sources or drivers" in output
    assert not (project.folder / "short/quota/quota.tsv").exists()
