"""A source filed under a second name, in another split: warned about at the end of the run, refused by a release."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from tiny_project import ROOT, Project, write_clip

from deepfakemnist.actors.bank import load_bank
from deepfakemnist.actors.cast import CastSettings, drivers, film, sources
from deepfakemnist.config.stages import PlanSettings
from deepfakemnist.media.ffmpeg import find_ffmpeg
from deepfakemnist.planning.assignment import split_people
from deepfakemnist.tables.files import read_rows
from deepfakemnist.tables.tsv import read_tsv

pytestmark = pytest.mark.workflow

CAST = CastSettings(
    folder=Path(), heads=4, sources=2, drivers=1, source_frames=20, driver_frames=20, width=320, height=240
)
SEED, PLAN = 7, {"actions": ["yaw"], "val_fraction": 0.25, "test_fraction": 0.25}


def name_in_another_split(known: list[str], person: str) -> str:
    """Return a person id that the plan puts into another split than ``person``."""
    for number in range(100):
        name = f"again{number}"
        splits = split_people([*known, name], PlanSettings(**PLAN), SEED)
        if splits[name] != splits[person]:
            return name
    raise AssertionError("every name is in one split")


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Two people, and the mirrored, re-encoded and shortened clip of the first under a third name."""
    folder = tmp_path_factory.mktemp("leaky")
    (folder / "videos").mkdir()
    bank, rows = load_bank(), []
    for shot in sources(CAST):
        write_clip(folder / f"videos/{shot.name}.mp4", list(film(shot, CAST, bank)))
        rows.append((shot.name, shot.person))
    name, person = rows[0]
    copy = ["-vf", "hflip,trim=start_frame=2", "-crf", "28", "-pix_fmt", "yuv420p"]
    command = [find_ffmpeg().path, "-v", "error", "-i", f"videos/{name}.mp4", *copy, "videos/copy.mp4"]
    subprocess.run(command, cwd=folder, check=True)
    rows.append(("copy", name_in_another_split([row[1] for row in rows], person)))
    driver = next(shot for shot in drivers(CAST) if shot.action == "yaw")
    write_clip(folder / "videos/driver.mp4", list(film(driver, CAST, bank)))
    lines = [f"{name}\tvideos/{name}.mp4\t{person}" for name, person in rows]
    (folder / "sources.tsv").write_text("\n".join(["video_id\tpath\tperson_id", *lines]) + "\n")
    (folder / "drivers.tsv").write_text("driver_id\taction\tpath\nyaw\tyaw\tvideos/driver.mp4\n")
    config = {
        "seed": SEED, "shard_size": 4, "device": "cpu", "plan": PLAN, "crop": {"size": 128},
        "sources": {"sheet": str(folder / "sources.tsv")}, "drivers": {"sheet": str(folder / "drivers.tsv")},
        "animator": {"name": "mesh"}, "liveness": {"providers": [{"provider": "local-action", "strength": 0.01}]},
        "compress": {"qualities": {"c23": {"crf": 23}}}, "frames": {"per_clip": 2},
        "training": {"detectors": [{"name": "meso4"}], "trained_on": ["c23"]},
    }  # fmt: skip
    shutil.copytree(ROOT / "config", folder / "config")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(config))
    return Project(folder)


@pytest.fixture(scope="module")
def output(leaky: Project) -> str:
    """What the run of the dataset printed."""
    return leaky.run("dataset")


def test_the_run_ends_with_a_warning_that_names_both_clips(leaky: Project, output: str) -> None:
    (leak,) = read_tsv(leaky.folder / "results/audit/identities.tsv")
    assert (leak["finding"], leak["verdict"]) == ("same_face", "leak")
    assert {leak["video_id"], leak["other_video_id"]} == {"copy", "actor00-1"}
    last = output.strip().splitlines()[-8:]
    assert any(line.startswith("WARNING: The splits leak: 1 pair of people with the same face") for line in last), last
    page = (leaky.folder / "results/report/identities.html").read_text()
    assert len(re.findall(r"data:image/jpeg", page)) == 2


def test_a_release_is_refused_until_the_pair_is_accepted_or_filed_under_one_person(leaky: Project, output: str) -> None:
    refused = leaky.run("release", expect=1)
    assert "release: The splits leak: 1 pair of people with the same face across splits" in refused
    assert not list((leaky.folder / "results").glob("release/*/SHA256SUMS"))

    (leak,) = read_tsv(leaky.folder / "results/audit/identities.tsv")
    pair = f"{leak['person_id']}\t{leak['other_person_id']}"
    (leaky.folder / "accepted.tsv").write_text(f"person_id\tother_person_id\treason\n{pair}\tonly a test\n")
    config = yaml.safe_load((leaky.folder / "tiny.yaml").read_text())
    config["dataset"] = {"identities": {"accepted": str(leaky.folder / "accepted.tsv")}}
    (leaky.folder / "accepted.yaml").write_text(yaml.safe_dump(config))
    accepted = Project(leaky.folder, "accepted.yaml")
    assert "WARNING: The splits leak" not in accepted.run("release")
    assert "only a test" in next(leaky.folder.glob("results/release/*/README.md")).read_text()
    assert "Nothing to be done" in accepted.run("-n", "release")

    rows = read_rows(leaky.folder / "results/manifest/videos.parquet")
    assert {row["split"] for row in rows if row["source_id"] in ("copy", "actor00-1")} > {rows[0]["split"]}
