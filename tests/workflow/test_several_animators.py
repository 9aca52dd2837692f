"""Two animators in one run: sources are dealt, each has its motions and fakes, detectors are trained without either."""

from __future__ import annotations

import re
import shutil
from collections import Counter

import pytest
import yaml
from face_crops import write_face_crops
from tiny_project import ROOT, Project, tiny_config

from deepfakemnist.tables.files import read_rows

pytestmark = [pytest.mark.workflow, pytest.mark.slow, pytest.mark.xdist_group("several animators")]

PEOPLE = 12
ACTIONS = ("yaw", "mouth")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Twelve people, half of them for each of two animators, and detectors that miss one of them in training."""
    folder = tmp_path_factory.mktemp("two")
    shutil.copytree(ROOT / "config", folder / "config")
    sections = write_face_crops(folder, PEOPLE, drivers=2, clips=1, actions=ACTIONS)
    config = tiny_config(folder) | sections
    del config["animator"]
    config |= {
        "shard_size": 100,
        "max_failed_fraction": 0.0,
        "animators": [{"name": "mesh"}, {"name": "mesh", "label": "mesh-drawn", "mouth": "synthetic"}],
        "plan": {"actions": list(ACTIONS), "val_fraction": 0.25, "test_fraction": 0.25},
        "evaluation": {"protocols": ["animators"]},
    }
    config["training"]["trained_on"] = ["c23", "c23-without-each-animator"]
    (folder / "tiny.yaml").write_text(yaml.safe_dump(config))
    project = Project(folder)
    project.run("results/report/protocols.html")
    return project


def videos(project: Project) -> list[dict]:
    return [row for row in read_rows(project.folder / "results/manifest/videos.parquet") if row["quality"] == "c23"]


def test_every_fake_is_by_the_animator_that_its_source_was_dealt_to(project: Project) -> None:
    fakes = [row for row in videos(project) if row["label"] == 1]
    assert {row["animator"] for row in fakes} == {"mesh", "mesh-drawn"}
    count = Counter(row["animator"] for row in fakes)
    # Half of each split, rounded.
    assert count.total() == PEOPLE and abs(count["mesh"] - count["mesh-drawn"]) <= 3
    animators_of = {}
    for row in fakes:
        animators_of.setdefault(row["source_id"], set()).add(row["animator"])
    assert all(len(animators) == 1 for animators in animators_of.values())
    tables = {path.stem: read_rows(path) for path in (project.folder / "results/animate").glob("*.parquet")}
    assert {name: {row["animator"] for row in rows} for name, rows in tables.items()} == {
        "shard-0000": {"mesh"},
        "shard-0000+mesh-drawn": {"mesh-drawn"},
    }
    drawn = [row for row in fakes if row["animator"] == "mesh-drawn"]
    assert {row["mouth_from"] for row in drawn} <= {"source", "synthetic"}


def test_the_page_says_which_fakes_a_detector_has_not_seen(project: Project) -> None:
    page = (project.folder / "results/report/protocols.html").read_text(encoding="utf-8")
    assert "13. Unseen animators: AUC, % (video level)" in page
    rows = re.findall(r"<tr>(.*?)</tr>", page, flags=re.S)
    unseen = {
        name: [cell.endswith("unseen") for cell in re.findall(r"<td[^>]*>(.*?)</td>", row, flags=re.S)[3:5]]
        for row in rows
        for name in re.findall(r"<td[^>]*>(c23(?:-[a-z-]+)?)</td>", row)[:1]
    }
    assert unseen == {
        "c23": [False, False],
        "c23-without-mesh": [True, False],
        "c23-without-mesh-drawn": [False, True],
    }


def test_nothing_is_to_do_and_a_third_animator_keeps_the_fakes_that_others_still_make(project: Project) -> None:
    assert "Nothing to be done" in project.run("results/report/protocols.html", "-n")
    tables = [f"results/animate/shard-0000{suffix}.parquet" for suffix in ("", "+mesh-drawn", "+mesh-still")]
    before = {pair: written for table in tables[:2] for pair, written in animated(project, table).items()}
    config = yaml.safe_load((project.folder / "tiny.yaml").read_text())
    config["animators"].append({"name": "mesh", "label": "mesh-still", "gaze": "source"})
    (project.folder / "three.yaml").write_text(yaml.safe_dump(config))
    Project(project.folder, "three.yaml").run(*tables)
    now = {pair: written for table in tables for pair, written in animated(project, table).items()}
    count = Counter(animator for _, animator in now)
    assert count.total() == PEOPLE and min(count[label] for label in ("mesh", "mesh-drawn", "mesh-still")) >= 2
    kept = before.keys() & now.keys()
    # Of twelve people, most get another action, because the actions of a few are balanced exactly.
    assert kept
    assert {pair: now[pair] for pair in kept} == {pair: before[pair] for pair in kept}


def animated(project: Project, table: str) -> dict[tuple[str, str], int]:
    """Return fake and animator → time at which its clip was written."""
    rows = read_rows(project.folder / table)
    return {(row["video_id"], row["animator"]): (project.folder / row["path"]).stat().st_mtime_ns for row in rows}
