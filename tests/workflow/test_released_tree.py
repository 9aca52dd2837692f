"""Import of a published tree into the workflow by config alone, with the authors' split."""

import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
import yaml
from released_tree import REALS, make_tree
from tiny_project import ROOT, Project

from deepfakemnist.dataset.check import check_dataset
from deepfakemnist.tables.files import read_rows

pytestmark = pytest.mark.workflow


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("released")
    make_tree(folder / "DFMNIST+")
    excluded = "\tid4\tasked to be left out\nblink-2\t\tas well\n"
    (folder / "exclude.tsv").write_text(f"video_id\tperson_id\treason\n{excluded}")
    config = {
        "shard_size": 15,
        "max_failed_fraction": 0.5,
        "device": "cpu",
        # Everything else is the default: a driver sheet that does not exist, pair lengths, local liveness.
        "sources": {"sheet": None, "released": "DFMNIST+", "exclude": "exclude.tsv"},
        "frames": {"per_clip": 2},
        "training": {"detectors": [{"name": "meso4", "image_size": 64, "epochs": 1}], "trained_on": ["c23"]},
    }
    shutil.copytree(ROOT / "config", folder / "config")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(config))
    return Project(folder)


@pytest.fixture(scope="module")
def finished(project: Project) -> Project:
    (planned,) = set(re.findall(r"^total +(\d+)$", project.run("dataset", "-n"), flags=re.M))
    assert f"{planned} of {planned} steps (100%) done" in project.run("dataset"), "a dry run lists every job"
    return project


def table(project: Project, name: str) -> list[dict]:
    return read_rows(project.folder / f"results/manifest/{name}.parquet")


def test_labels_actions_and_the_authors_split_are_kept_at_every_quality(finished: Project) -> None:
    videos = table(finished, "videos")
    assert Counter((row["label"], row["quality"]) for row in videos) == {
        (label, quality): count for label, count in ((0, 3), (1, 19)) for quality in ("raw", "c23", "c40")
    }
    split = {row["video_id"]: row["split"] for row in videos}
    assert {name: split[name] for name in split if "#" in name} == {
        name: part for part, names in REALS.items() for name in names if not name.startswith("id4")
    }
    authors = ["train"] * 7 + ["val"] * 2 + ["test"]
    assert [split[f"surprise-{100 * number}"] for number in range(10)] == authors
    assert [split.get(f"blink-{number}") for number in range(10)] == [*authors[:2], None, *authors[3:]], "2 is excluded"
    for row in videos:
        fake = row["label"] == 1
        assert (row["action"], row["synthetic"]) == (row["video_id"].split("-")[0] if fake else "", fake)
        assert (row["driver_id"], row["animator"], row["round"]) == ("", "", None)
        assert row["marks"] == ("comment,c2pa" if fake else "")
        side = 64 if row["video_id"] == "blink-1" else 48
        assert (row["width"], row["height"], row["fps"], row["frames"]) == (side, side, 25.0, 6)
    assert not any(pair["complete"] for pair in table(finished, "pairs"))
    assert len(table(finished, "frames")) == 2 * len(videos)


def test_every_file_is_in_the_ledger_with_its_reason(finished: Project) -> None:
    ledger = {row["video_id"]: row for row in table(finished, "ledger")}
    assert len(ledger) == 28
    bad = {name: (row["kind"], row["stage"], row["status"], row["reason"]) for name, row in ledger.items()}
    assert {name: what for name, what in bad.items() if what[2] != "ok"} == {
        "id4#d#1#2": ("source", "sheet", "rejected", "excluded"),
        "blink-2": ("fake", "sheet", "rejected", "excluded"),
        "id5#cut#1#2": ("source", "import_released", "failed", "truncated"),
        "id6#slow#1#2": ("source", "import_released", "rejected", "other_rate"),
        "id7#odd#1#2": ("source", "compress", "rejected", "odd_size"),
        "fake_dataset/lost.mp4": ("fake", "sheet", "rejected", "outside_the_layout"),
    }
    assert "15 frames per second; crop.fps sets 25" in ledger["id6#slow#1#2"]["detail"]


def test_the_files_match_the_manifest(finished: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(finished.folder)
    problems = check_dataset(Path("results/manifest"), decode=True)
    assert {problem.kind for problem in problems} == {"split_leak"}
    log = Path("results/logs/manifest.log").read_text()
    assert "the published split is kept, although" in log and "person id1" in log


def test_a_second_call_has_nothing_to_do(finished: Project) -> None:
    assert "Nothing to be done" in finished.run("dataset")


def test_the_report_plans_no_stage_before_the_import(finished: Project) -> None:
    plan = finished.run("report", "-n")
    for rule in ("train", "evaluate", "metrics_pages", "gallery_page"):
        assert f"rule {rule}:" in plan
    for rule in ("ingest", "crop", "plan", "extract_motion", "animate", "liveness", "liveness_page", "source_pages"):
        assert f"rule {rule}:" not in plan
