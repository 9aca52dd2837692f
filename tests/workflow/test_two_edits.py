"""Edits of a finished run: each reaches everything it must, whatever was edited at the same time."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from tiny_project import GOOD, Project, ffmpeg, make_project

from deepfakemnist.tables.files import read_rows

pytestmark = [pytest.mark.extended, pytest.mark.workflow, pytest.mark.slow]

MANIFEST = "manifest"
Jobs = set[tuple[str, str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A finished run of four sources, one per shard, whose animator was trained by the run."""
    project = make_project(tmp_path_factory.mktemp("trained"))
    header, *lines = (project.folder / "sources.tsv").read_text(encoding="utf-8").splitlines()
    good = [line for line in lines if line.split("\t")[0] in GOOD]
    (project.folder / "sources.tsv").write_text("\n".join([header, *good]) + "\n", encoding="utf-8")
    config = yaml.safe_load((project.folder / project.config).read_text()) | {"shard_size": 1}
    write_config(project, config)
    project.run(MANIFEST)
    return project


def write_config(project: Project, config: dict) -> None:
    (project.folder / project.config).write_text(yaml.safe_dump(config))


def planned(project: Project) -> Jobs:
    """Return rule and first output of every job that a dry run plans."""
    output = project.run(MANIFEST, "-n")
    found = re.findall(r"^(?:local)?rule (\w+):\n(?:    .*\n)*?    output: ([^,\n]+)", output, flags=re.M)
    return set(found)


@contextmanager
def other_video(path: Path) -> Iterator[None]:
    """Replace a video by its mirror image as ``cp -p`` does, with an old time; then put it back."""
    aside = path.rename(path.with_name(f"aside-{path.name}"))
    ffmpeg("-i", aside, "-vf", "hflip", path)
    os.utime(path, (1e9, 1e9))
    try:
        yield
    finally:
        aside.replace(path)


@contextmanager
def crf(project: Project, config: dict) -> Iterator[None]:
    config.setdefault("compress", {}).setdefault("qualities", {})["c23"] = {"crf": 24}
    yield


@contextmanager
def threshold(project: Project, config: dict) -> Iterator[None]:
    config["liveness"]["providers"][0]["threshold"] = 0.01
    yield


@contextmanager
def source_replaced(project: Project, config: dict) -> Iterator[None]:
    with other_video(project.folder / f"videos/{GOOD[1]}.mp4"):
        yield


@contextmanager
def driver_replaced(project: Project, config: dict) -> Iterator[None]:
    with other_video(next(iter(sorted((project.folder / "videos").glob("*yaw*.mp4"))))):
        yield


@contextmanager
def source_removed(project: Project, config: dict) -> Iterator[None]:
    lines = (project.folder / "sources.tsv").read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if not line.startswith(GOOD[0])]
    (project.folder / "fewer.tsv").write_text("\n".join(kept) + "\n", encoding="utf-8")
    config["sources"]["sheet"] = str(project.folder / "fewer.tsv")
    yield


EDITS = {edit.__name__: edit for edit in (crf, threshold, source_replaced, driver_replaced, source_removed)}


@contextmanager
def edited(project: Project, *names: str) -> Iterator[Project]:
    """Apply edits, in a config file of their own, and undo them afterwards."""
    config = yaml.safe_load((project.folder / project.config).read_text())
    other = replace(project, config=f"{'-'.join(names)}.yaml")
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(EDITS[name](project, config))
        write_config(other, config)
        yield other


def jobs_of(jobs: Jobs, rule: str) -> int:
    return sum(name == rule for name, _ in jobs)


def test_two_edits_plan_what_each_of_them_plans(run: Project) -> None:
    single: dict[str, Jobs] = {}
    for name in EDITS:
        with edited(run, name) as project:
            single[name] = planned(project)
    # Four sources and four fakes, at every quality in one job each.
    assert jobs_of(single["crf"], "compress") == 8
    assert jobs_of(single["threshold"], "liveness") == 4
    assert {output for rule, output in single["source_replaced"] if rule == "ingest"} == {
        f"results/ingest/source/{GOOD[1]}.parquet"
    }
    assert jobs_of(single["source_replaced"], "animate") == 1
    assert not jobs_of(single["source_replaced"] | single["driver_replaced"], "train_animator")
    for one, other in itertools.combinations(EDITS, 2):
        with edited(run, one, other) as project:
            both = planned(project)
        union = single[one] | single[other]
        if "source_removed" in (one, other):
            union = {(rule, output) for rule, output in union if GOOD[0] not in output}
        assert both == union, (one, other)
    assert "Nothing to be done" in run.run(MANIFEST, "-n")


def test_a_touched_video_plans_nothing(run: Project) -> None:
    (run.folder / f"videos/{GOOD[1]}.mp4").touch()
    assert "Nothing to be done" in run.run(MANIFEST, "-n")


def test_a_run_after_two_edits_is_of_one_setting(run: Project) -> None:
    """The last test of the module, because it keeps its edits."""
    with ExitStack() as stack:
        project = stack.enter_context(edited(run, "crf", "source_replaced"))
        checkpoint = project.folder / "results/animator/checkpoint.safetensors"
        trained = checkpoint.stat().st_mtime_ns
        project.run(MANIFEST)
        assert "Nothing to be done" in project.run(MANIFEST, "-n")
        videos = read_rows(project.folder / "results/manifest/videos.parquet")
        assert len({row["encoder"] for row in videos if row["quality"] == "c23"}) == 1
        assert '"crf": 24' in next(row["encoder"] for row in videos if row["quality"] == "c23")
        assert len(videos) == 3 * 8
        assert checkpoint.stat().st_mtime_ns == trained
