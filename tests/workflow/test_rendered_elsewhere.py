"""Clips rendered elsewhere: plan, export, rendering by another program, and the table back into a dataset."""

from __future__ import annotations

import csv
import shutil
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from face_crops import FRAMES, SIDE, write_face_crops
from tiny_project import ROOT, Project, tiny_config

from deepfakemnist.animate.registry import load_animator
from deepfakemnist.cli.main import main
from deepfakemnist.config.animators.registry import animator_settings
from deepfakemnist.media.decode import read_clip
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.tables.files import read_rows

pytestmark = [pytest.mark.workflow, pytest.mark.slow, pytest.mark.xdist_group("rendered elsewhere")]

PEOPLE, FAULTS = 20, 5
LABEL = "rendered-warp"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Twenty people in two shards, whose clips another program is to render."""
    folder = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(ROOT / "config", folder / "config")
    sections = write_face_crops(folder, PEOPLE, drivers=2)
    config = tiny_config(folder) | sections
    del config["animator"]
    config |= {
        "shard_size": 12,
        "max_failed_fraction": 0.1,
        "animators": [{"name": "rendered", "label": LABEL, "clips": "out/pairs.csv"}],
        "plan": {"actions": ["yaw"], "val_fraction": 0.2, "test_fraction": 0.2},
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(config))
    return Project(folder)


def export() -> int:
    return main(["plan", "export", "out", "--configfile", "tiny.yaml"])


def table(project: Project) -> list[dict[str, str]]:
    with (project.folder / "out/pairs.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def write_back(project: Project, rows: list[dict[str, str]]) -> None:
    with (project.folder / "out/pairs.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def render(folder: Path, rows: list[dict[str, str]]) -> None:
    """Render pairs as another program would, from the exported files alone."""
    animator = load_animator(animator_settings(name="mesh"), None, "cpu")
    motions = {}
    for row in rows:
        clip = row["driver_clip"]
        if clip not in motions:
            motions[clip] = animator.prepare_driving(read_clip(folder / clip))
        source = np.ascontiguousarray(cv2.imread(str(folder / row["source_picture"]))[..., ::-1])
        frames = list(animator.render(animator.prepare_source(source), motions[clip]))
        write_working_clip(folder / row["path"], frames, float(row["fps"]))


@pytest.fixture(scope="module")
def pairs(project: Project) -> list[dict[str, str]]:
    """The exported pairs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.folder)
        (project.folder / "results").mkdir()
        assert export() == 1, "the plan is not there yet"
        assert "does not exist yet" in project.run("plan_pairs")
        assert export() == 0
        first = (project.folder / "out/pairs.csv").read_bytes()
        assert export() == 0
    assert (project.folder / "out/pairs.csv").read_bytes() == first
    return table(project)


@pytest.fixture(scope="module")
def dataset(project: Project, pairs: list[dict[str, str]]) -> dict[str, str]:
    """The dataset of 20 clips with five faults and a surplus row; source id → reason, of the faulty ones."""
    folder = project.folder / "out"
    render(folder, pairs)
    unlisted, gone, short, slow, cut = pairs[:FAULTS]
    (folder / gone["path"]).unlink()
    frames = read_clip(folder / short["path"])
    write_working_clip(folder / short["path"], frames[:-2], 25.0)
    write_working_clip(folder / slow["path"], frames, 24.0)
    (folder / cut["path"]).write_bytes((folder / cut["path"]).read_bytes()[:2000])
    surplus = {**pairs[-1], "driver_id": "d7"}
    back = [{**row, "licence": "CC0-1.0"} for row in (*pairs[1:], surplus)]
    write_back(project, back)
    project.run("results/manifest/videos.parquet")
    reasons = ("not_rendered", "missing_file", "length_differs", "other_rate", "truncated")
    return {row["source_id"]: reason for row, reason in zip((unlisted, gone, short, slow, cut), reasons, strict=True)}


def test_export_has_what_another_program_needs(project: Project, pairs: list[dict[str, str]]) -> None:
    assert len(pairs) == len({row["source_id"] for row in pairs}) == PEOPLE
    assert {(row["animator"], row["action"], row["fps"], row["licence"]) for row in pairs} == {(LABEL, "yaw", "25", "")}
    assert {int(row["frames"]) for row in pairs} == {FRAMES} and {int(row["size"]) for row in pairs} == {SIDE}
    assert {row["split"] for row in pairs} == {"train", "val", "test"}
    crops = {row["video_id"]: row for path in crop_tables(project) for row in read_rows(path)}
    for row in pairs[:3]:
        crop = crops[row["source_id"]]
        picture = cv2.imread(str(project.folder / "out" / row["source_picture"]))[..., ::-1]
        assert np.array_equal(picture, read_clip(project.folder / crop["path"])[crop["best_frame"]])
        driver = read_clip(project.folder / "out" / row["driver_clip"])
        assert np.array_equal(driver, read_clip(project.folder / crops[row["driver_id"]]["path"]))


def crop_tables(project: Project) -> list[Path]:
    return sorted((project.folder / "results/crop").glob("*/*.parquet"))


def test_the_dataset_has_the_good_clips_and_a_reason_for_each_other(project: Project, dataset: dict[str, str]) -> None:
    videos = read_rows(project.folder / "results/manifest/videos.parquet")
    fakes = [row for row in videos if row["label"] == 1 and row["quality"] == "c23"]
    assert len(fakes) == PEOPLE - FAULTS
    assert {(row["animator"], row["animator_licence"], row["motion_mode"]) for row in fakes} == {
        (LABEL, "CC0-1.0", "rendered")
    }
    ledger = read_rows(project.folder / "results/manifest/ledger.parquet")
    dropped = {row["video_id"].split("@")[0]: row for row in ledger if row["kind"] == "fake" and row["status"] != "ok"}
    assert {name: row["reason"] for name, row in dropped.items()} == dataset
    assert {row["stage"] for row in dropped.values()} == {"animate"}
    surplus = [(row["reason"], row["video_id"].split("@")[1]) for row in ledger if row["kind"] == "rendered"]
    assert surplus == [("not_planned", f"d7 (line {PEOPLE + 1})")]


def test_a_clip_that_is_mended_makes_its_shard_again(project: Project, dataset: dict[str, str]) -> None:
    target = "results/manifest/videos.parquet"
    row = next(row for row in table(project) if dataset.get(row["source_id"]) == "truncated")
    render(project.folder / "out", [row])
    planned = Counter(line.split()[1].rstrip(":") for line in project.run(target, "-n").splitlines() if jobs(line))
    # One of the two shards, nothing before the import, and nothing that did not change.
    assert planned["animate"] == planned["select"] == planned["manifest"] == 1
    assert not {"crop", "ingest", "plan"} & planned.keys()


def jobs(line: str) -> bool:
    return line.startswith(("rule ", "localrule "))
