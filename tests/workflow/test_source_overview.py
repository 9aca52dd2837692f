"""Summary at the start of a run: people per split, what counts as a person, what is left aside; the animator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_project import ROOT, Project

from deepfakemnist.config.animators.registry import animator_settings
from deepfakemnist.config.load import load_config
from deepfakemnist.workflow.run_plan import RunPlan
from deepfakemnist.workflow.source_overview import describe_animators

Configure = Callable[..., dict[str, Any]]


@pytest.fixture
def configure(tmp_path: Path) -> Configure:
    """Factory of the config of a run on a folder of empty files with the given names."""

    def make(*names: str, **sources: object) -> dict[str, Any]:
        for name in ("d.mp4", *(f"videos/{name}" for name in names)):
            (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
            (tmp_path / name).touch()
        (tmp_path / "drivers.tsv").write_text("driver_id\taction\tpath\nd\tyaw\td.mp4\n")
        config = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
        config["sources"] = {"folder": str(tmp_path / "videos"), **sources}
        config["drivers"]["sheet"] = str(tmp_path / "drivers.tsv")
        config["plan"]["actions"] = ["yaw"]
        return config

    return make


def describe(config: dict[str, Any]) -> list[str]:
    return RunPlan(load_config(config)).overview().splitlines()


def test_people_per_split_their_rule_and_files_left_aside(configure: Configure) -> None:
    names = [f"p{person}/{take}.mp4" for person in range(10) for take in "ab"]
    lines = describe(configure(*names, "p0/notes.txt", "p0/.a.mp4"))
    assert lines == [
        "Sources: 20 videos of 10 people: train 7, val 1, test 2",
        "  person: first folder below sources.folder; without one, file name up to '#'; p0 (2), p1 (2), p2 (2), …",
        "  left aside: 1 without a video suffix (.txt 1), 1 hidden",
    ]


def test_a_person_per_file_is_a_warning_unless_the_user_says_so(configure: Configure) -> None:
    names = [f"{person}.mp4" for person in "abcdef"]
    assert describe(configure(*names))[-1].startswith("  WARNING: every video counts as a person of its own.")
    assert "sources.person_from" in describe(configure(*names))[-1]
    stated = describe(configure(*names, person_from="(?P<person>[a-z])[.]"))
    assert stated[1:] == ["  person: sources.person_from '(?P<person>[a-z])[.]'; a (1), b (1), c (1), …"]


def test_a_sheet_without_people_warns_too(configure: Configure, tmp_path: Path) -> None:
    config = configure("a.mp4", "b.mp4", "c.mp4")
    for header, people, warns in (("", "", True), ("\tperson_id", "\tanna", False)):
        lines = "".join(f"{name}\tvideos/{name}.mp4{people}{name if people else ''}\n" for name in "abc")
        (tmp_path / "sources.tsv").write_text(f"video_id\tpath{header}\n{lines}")
        config["sources"] = {"sheet": str(tmp_path / "sources.tsv")}
        described = "\n".join(describe(config))
        assert ("a column person_id or names PERSON#VIDEO" in described) == warns


def test_splits_that_stay_empty_are_named(configure: Configure) -> None:
    lines = describe(configure("anna/1.mp4", "bob/1.mp4", "bob/2.mp4"))
    assert lines[-1] == "  WARNING: nobody is in val and test: 2 people are too few for the splits."
    config = configure("anna/1.mp4", "bob/1.mp4", "bob/2.mp4")
    config["plan"] |= {"val_fraction": 0.0, "test_fraction": 0.0}
    assert "WARNING" not in "\n".join(describe(config))


def test_refused_rows_are_counted_by_reason(configure: Configure, tmp_path: Path) -> None:
    config = configure("a/1.mp4", "a/2.mp4", "b/1.mp4", "c/1.mp4")
    (tmp_path / "videos/c/gone.mp4").symlink_to("nowhere.mp4")
    (tmp_path / "out.tsv").write_text("video_id\tperson_id\treason\n\tb\tasked\n")
    config["sources"]["exclude"] = str(tmp_path / "out.tsv")
    assert "  refused, see the ledger: 1 broken_link, 1 excluded" in describe(config)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({}, "mesh, without weights"),
        ({"weights": "vox-cpk.pth.tar"}, "fomm with vox-cpk.pth.tar"),
        ({"name": "fomm"}, "fomm, trained on the crops of this run"),
        ({"name": "fomm", "train": {"clips": "faces"}}, "fomm, trained on faces"),
    ],
)
def test_the_animator_is_named_with_its_weights(settings: dict[str, Any], line: str) -> None:
    assert describe_animators([animator_settings(settings)]) == f"Animator: {line}"


def test_of_several_animators_the_shares_are_named() -> None:
    given = [{"name": "fomm", "weights": "w.tar", "share": 3}, {"name": "mesh"}]
    lines = describe_animators([animator_settings(one) for one in given])
    assert lines.splitlines() == [
        "Animator: fomm with w.tar, 75% of the sources",
        "Animator: mesh, without weights, 25% of the sources",
    ]


@pytest.mark.slow
@pytest.mark.workflow
def test_a_dry_run_prints_it_once_and_a_job_does_not(configure: Configure, tmp_path: Path) -> None:
    config = configure("a.mp4", "b.mp4", "c.mp4", "c.txt", sheet=None)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "config").symlink_to(ROOT / "config")
    output = Project(tmp_path).run("dataset", "-n")
    assert output.count("Sources: 3 videos of 3 people: train 1, val 1, test 1") == 1
    assert output.count("left aside: 1 without a video suffix (.txt 1)") == 1
    assert output.count("Animator: mesh, without weights") == 1
    assert "train_animator" not in output
    shard = RunPlan(load_config(config)).shards("source")[0]
    output = Project(tmp_path).run(f"results/ingest/source/{shard}.parquet", "--config", "max_failed_fraction=1.0")
    assert output.count("Sources: ") == 1
