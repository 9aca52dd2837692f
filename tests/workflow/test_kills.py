"""Runs killed at every stage, whole or Snakemake alone, end with the rows and pixels of an undisturbed run."""

from __future__ import annotations

import pytest
from mesh_project import TARGETS, MeshProject

from deepfakemnist.tables.files import read_rows

pytestmark = [pytest.mark.extended, pytest.mark.workflow, pytest.mark.slow]

#: Files that a job has just begun to write, below the results.
MOMENTS = (
    "ingest/source/.*.lock",
    "crop/source/*/.*.part.mp4",
    "animate/*/.*.part.mp4",
    "liveness/*/.*.lock",
    "compress/fake/*/*/.*.part.mp4",
    "frames/real/.*.lock",
)
#: Moments at which Snakemake alone is killed: its jobs go on, beside those of the next run.
ALONE = ("crop/source/*/.*.part.mp4", "animate/*/.*.part.mp4", "compress/fake/*/*/.*.part.mp4")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> MeshProject:
    project = MeshProject.make(tmp_path_factory.mktemp("undisturbed"))
    project.run()
    return project


def rows_of(project: MeshProject) -> list[dict]:
    return read_rows(project.folder / "results/manifest/videos.parquet")


@pytest.mark.parametrize(
    ("begun", "whole_tree"), [(moment, True) for moment in MOMENTS] + [(moment, False) for moment in ALONE]
)
def test_a_run_goes_on_after_a_kill(undisturbed: MeshProject, tmp_path, begun: str, whole_tree: bool) -> None:
    project = MeshProject.make(tmp_path / "killed")
    project.kill(begun, whole_tree)
    project.run()
    assert project.pixels() == undisturbed.pixels()
    assert rows_of(project) == rows_of(undisturbed)
    assert "Nothing to be done" in project.run("-n", "--", *TARGETS)
    checked = project.command("manifest", "check", "--decode")
    assert "match the manifest" in checked and "unfinished" not in checked
