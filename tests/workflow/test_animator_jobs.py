"""Jobs of animators on a machine with a GPU: those of mesh, which runs on the CPU, request none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from tiny_project import ROOT, Project

pytestmark = [pytest.mark.workflow, pytest.mark.slow]


def jobs_of(folder: Path, **settings: object) -> list[tuple[str, str]]:
    """Return rule and description of the jobs that a dry run with two sources and a driver lists."""
    (folder / "config").symlink_to(ROOT / "config")
    (folder / "videos").mkdir()
    for name in ("a", "b", "d"):
        (folder / f"videos/{name}.mp4").touch()
    (folder / "sources.tsv").write_text("video_id\tpath\na\tvideos/a.mp4\nb\tvideos/b.mp4\n")
    (folder / "drivers.tsv").write_text("driver_id\taction\tpath\nd\tyaw\tvideos/d.mp4\n")
    config = {"device": "cuda", "plan": {"actions": ["yaw"]}, **settings}
    config |= {name: {"sheet": str(folder / f"{name}.tsv")} for name in ("sources", "drivers")}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(config))
    jobs = re.findall(r"^(?:local)?rule (\w+):\n((?:    .*\n)+)", Project(folder).run("-n", "all"), flags=re.M)
    assert jobs
    return jobs


def requested(folder: Path, **animator: object) -> dict[str, tuple[str, str]]:
    """Return rule → GPUs and threads that a dry run states for its jobs; empty where it states none."""
    jobs = jobs_of(folder, animator=animator)
    stated = {rule: (re.search(r"\bgpu=(\d+)", text), re.search(r"threads: (\d+)", text)) for rule, text in jobs}
    return {rule: tuple(found[1] if found else "" for found in both) for rule, both in stated.items()}


def test_mesh_leaves_the_gpu_to_others_and_runs_a_job_per_shard(tmp_path: Path) -> None:
    jobs = requested(tmp_path)
    assert "animate_shard" not in jobs and "train_animator" not in jobs
    assert [jobs[rule][0] for rule in ("extract_motion", "animate", "train")] == ["0", "0", "1"]
    assert jobs["animate"][1] == ""


def test_fomm_takes_a_gpu_for_many_shards(tmp_path: Path) -> None:
    jobs = requested(tmp_path, name="fomm")
    assert "animate_shard" in jobs
    assert [jobs[rule][0] for rule in ("extract_motion", "animate", "train_animator")] == ["1", "1", "1"]


def test_of_two_animators_each_asks_for_what_it_needs(tmp_path: Path) -> None:
    animators = [{"name": "fomm"}, {"name": "mesh"}]
    jobs = [text for rule, text in jobs_of(tmp_path, animators=animators) if rule == "animate"]
    asked = {(re.search(r"batch=(\S+)", text) or [""])[1]: re.search(r"\bgpu=(\d+)", text)[1] for text in jobs}
    assert asked == {"batch-0000": "1", "batch-0000+mesh": "0"}
