"""A run directory of version 0.1 is recognised, and the commands in the message lead on."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from tiny_project import Project, make_project

from deepfakemnist.errors import ConfigError
from deepfakemnist.workflow.run_directory import check_run_directory


def old_run(results: Path, *folders: str) -> Path:
    for folder in folders:
        (results / folder).mkdir(parents=True)
    return results


@pytest.mark.parametrize("folder", ["drive", "gpu/drive", "enter", "evaluation/disturbed"])
def test_folders_of_version_0_1_are_recognised(tmp_path: Path, folder: str) -> None:
    with pytest.raises(ConfigError, match=f"holds a run of version 0.1: {folder} is called "):
        check_run_directory(old_run(tmp_path / "results", folder))


def test_other_directories_pass(tmp_path: Path) -> None:
    check_run_directory(tmp_path / "nothing")
    check_run_directory(old_run(tmp_path / "results", "crop/driver", "extract_motion", "evaluation/on_other"))


def test_nothing_is_moved_onto_an_earlier_move(tmp_path: Path) -> None:
    results = old_run(tmp_path / "my results", "drive")
    (tmp_path / "my results-0.1").mkdir()
    with pytest.raises(ConfigError) as told:
        check_run_directory(results)
    command = f"    mv {shlex.quote(str(results))} {shlex.quote(str(results) + '-0.1a')}"
    assert command in str(told.value).splitlines()


def test_only_what_is_there_is_offered_to_be_kept(tmp_path: Path) -> None:
    results = old_run(tmp_path / "results", "drive", "liveness_answers")
    with pytest.raises(ConfigError) as told:
        check_run_directory(results)
    assert "Paid answers" in str(told.value) and "trained animator" not in str(told.value)
    with pytest.raises(ConfigError) as told:
        check_run_directory(results, answers=Path("answers"))
    assert "Paid answers" not in str(told.value)


@pytest.mark.slow
@pytest.mark.workflow
def test_the_commands_lead_on(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    old_run(tmp_path / "results", "drive", "liveness_answers", "animator")
    (tmp_path / "results/animator/checkpoint.safetensors").touch()
    told = project.run("dataset", "-n", expect=1)
    assert "drive is called extract_motion now" in told

    # Leave it, and write elsewhere.
    (elsewhere,) = re.findall(r"^ +(pathvars: .*)$", told, flags=re.M)
    config = yaml.safe_load((tmp_path / "tiny.yaml").read_text())
    (tmp_path / "elsewhere.yaml").write_text(yaml.safe_dump(config | yaml.safe_load(elsewhere)))
    assert "extract_motion " in Project(tmp_path, "elsewhere.yaml").run("dataset", "-n")

    # Or move it away, and keep what was paid for and what was trained.
    (move,) = re.findall(r"^ +(mv .*)$", told, flags=re.M)
    subprocess.run(shlex.split(move), cwd=tmp_path, check=True)
    kept = [yaml.safe_load(line) for line in re.findall(r"^ +((?:liveness|animator): .*)$", told, flags=re.M)]
    for part in kept:
        for name, value in part.items():
            config[name] |= value
    assert (tmp_path / config["liveness"]["answers"]).is_dir()
    assert (tmp_path / config["animator"]["weights"]).is_file()
    (tmp_path / "kept.yaml").write_text(yaml.safe_dump(config))
    planned = Project(tmp_path, "kept.yaml").run("dataset", "-n")
    assert "extract_motion " in planned and "train_animator" not in planned
