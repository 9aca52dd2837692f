"""What is made again in a finished run after an edit, on a real project: the videos of the edit and no others."""

import re
import shutil

import pytest
import yaml
from tiny_project import GOOD, Project

pytestmark = pytest.mark.workflow

STAGES = ("ingest", "crop", "extract_motion", "animate", "liveness", "compress")


def processed(project):
    """Return stage → (videos processed, videos in all) by the logs of the jobs that have run."""
    found = {}
    for stage in STAGES:
        for log in (project.folder / "results/logs" / stage).rglob("*.log"):
            for made, videos in re.findall(r"(\d+) of (\d+) videos processed", log.read_text()):
                before = found.get(stage, (0, 0))
                found[stage] = (before[0] + int(made), before[1] + int(videos))
    return found


@pytest.fixture(scope="module")
def small(project, tmp_path_factory):
    """Good sources alone, two shards, the landmark mesh; run as far as the dataset."""
    folder = tmp_path_factory.mktemp("reuse")
    shutil.copytree(project.folder, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("results", ".snakemake"))
    config = yaml.safe_load((folder / "tiny.yaml").read_text().replace(str(project.folder), str(folder)))
    lines = (folder / "sources.tsv").read_text().splitlines()
    good = [line for line in lines[1:] if line.split("\t")[0] in GOOD]
    (folder / "sources.tsv").write_text(
        "\n".join([f"{lines[0]}\tlicence", *(f"{line}\tCC-BY" for line in good)]) + "\n"
    )
    config["animator"], config["shard_size"] = {"name": "mesh"}, 4
    (folder / "tiny.yaml").write_text(yaml.safe_dump(config))
    small = Project(folder)
    small.run("dataset")
    return small


def run_again(project, *arguments):
    """Run the project again with empty logs; return the videos processed, and all, by stage."""
    shutil.rmtree(project.folder / "results/logs")
    project.run("dataset", *arguments)
    return processed(project)


def test_jobs_that_are_forced_take_over_every_video(small):
    clips = {path: path.stat().st_mtime_ns for path in (small.folder / "results").rglob("*.mp4")}
    assert clips
    again = run_again(small, "--forcerun", "ingest")
    assert {stage: made for stage, (made, _) in again.items()} == dict.fromkeys(STAGES, 0)
    assert {stage: videos for stage, (_, videos) in again.items()} == {
        "ingest": 6, "crop": 6, "extract_motion": 2, "animate": 4, "liveness": 4, "compress": 8,
    }  # fmt: skip
    assert {path: path.stat().st_mtime_ns for path in (small.folder / "results").rglob("*.mp4")} == clips


def test_an_edited_licence_writes_the_captions_and_nothing_else(small):
    sheet = small.folder / "sources.tsv"
    sheet.write_text(sheet.read_text().replace("CC-BY", "CC0-1.0"))
    planned = small.run("-n", "dataset").split("Job stats:")[-1]
    sheet.write_text(sheet.read_text().replace("CC0-1.0", "CC-BY"))
    assert re.findall(r"^(\w+) +(\d+)$", planned, flags=re.M) == [("captions", "1"), ("dataset", "1"), ("total", "2")]


def test_a_changed_source_is_made_again_and_its_neighbours_are_not(small):
    """The last test of the module, because it keeps its edit."""
    path = small.folder / "videos" / f"{GOOD[1]}.mp4"
    path.write_bytes((small.folder / "videos" / f"{GOOD[2]}.mp4").read_bytes())
    changed = run_again(small)
    assert {stage: made for stage, (made, _) in changed.items() if made} == {
        "ingest": 1, "crop": 1, "animate": 1, "liveness": 1, "compress": 2,
    }  # fmt: skip
