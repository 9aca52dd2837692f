"""Runs on nodes that share no folder, through a simulated S3: nothing that a job needs is undeclared."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from mesh_project import PEOPLE, TARGETS, MeshProject
from separate_nodes import SeparateNodes, copy_sources, simulated_s3

from deepfakemnist.tables.file_versions import sha256_of
from deepfakemnist.tables.files import read_rows

pytestmark = [pytest.mark.workflow, pytest.mark.slow]


def packed_project(folder: Path) -> MeshProject:
    """Make a project that packs its media, in a folder with the sources of the workflow."""
    folder.mkdir()
    project = MeshProject.make(folder, storage={"media": "packed"})
    copy_sources(folder)
    return project


def local_project(folder: Path) -> MeshProject:
    folder.mkdir()
    return MeshProject.make(folder)


@pytest.fixture
def nodes(tmp_path: Path):
    packed_project(tmp_path / "run")
    with simulated_s3() as address:
        yield SeparateNodes(tmp_path / "run", tmp_path / "nodes", address)


def forget(nodes: SeparateNodes) -> None:
    """Delete all that the machine which plans the run keeps of it, as if another one went on."""
    for name in ("results", ".snakemake"):
        shutil.rmtree(nodes.folder / name)


def test_crops_are_made_on_nodes_that_have_no_videos(nodes: SeparateNodes, tmp_path: Path) -> None:
    table = "results/crop/source/shard-0000.parquet"
    nodes.run(table)
    # The tables and media of both stages, what each job logs, and the plan.
    made = {key for key in nodes.stored() if not key.startswith(("results/logs/", "results/benchmarks/"))}
    assert {key for key in made if not key.startswith(".snakemake/deepfakemnist/plan-")} == {
        "results/videos/source/shard-0000.tar", "results/ingest/source/shard-0000.parquet", table,
        table.replace(".parquet", ".tar"),
    }  # fmt: skip
    assert len(made) == 5
    # The machine that plans the run has the sources' videos, and none of the nodes' work but the tables it waited for.
    assert not list((nodes.folder / "results").rglob("*.mp4"))

    nodes.download(tmp_path / "downloaded")
    downloaded = tmp_path / "downloaded"
    subprocess.run(["tar", "xf", downloaded / table.replace(".parquet", ".tar")], cwd=downloaded, check=True)
    rows = read_rows(downloaded / table)
    assert [row["status"] for row in rows] == ["ok"] * PEOPLE
    for row in rows:
        assert sha256_of(downloaded / row["path"]) == row["sha256"]

    forget(nodes)
    assert "Nothing to be done" in nodes.run(table, options=("-n",))


@pytest.mark.extended
def test_archives_follow_selected_sources_and_batches(tmp_path: Path) -> None:
    project = packed_project(tmp_path / "run")
    (project.folder / "more.yaml").write_text("{clips_per_gpu_job: 4, sources: {select: {videos: 2}}}")
    output = project.run("more.yaml", "-n", "--", *TARGETS)
    animate = re.search(r"^rule animate:\n +input: (.*)\n +output: (.*)$", output, re.MULTILINE)
    assert animate, output
    archives = [{path for path in part.split(", ") if path.endswith(".tar")} for part in animate.groups()]
    assert archives == [
        {"results/candidates/source/shard-0000.tar", "results/gpu/extract_motion/batch-0000.tar"},
        {"results/gpu/animate/batch-0000@1.tar"},
    ]


@pytest.mark.extended
def test_a_dataset_made_through_a_bucket_has_the_pixels_of_a_local_one(nodes: SeparateNodes, tmp_path: Path) -> None:
    nodes.run(*TARGETS)
    forget(nodes)
    assert "Nothing to be done" in nodes.run(*TARGETS, options=("-n",))
    # Another machine goes on: with all rounds known, and with media from the bucket.
    page = "results/report/gallery.html"
    assert "rule compress" not in nodes.run(page)

    nodes.download(tmp_path / "downloaded")
    for archive in (tmp_path / "downloaded/results/compress").rglob("*.tar"):
        subprocess.run(["tar", "xf", archive], cwd=tmp_path / "downloaded", check=True)
    local = local_project(tmp_path / "local")
    local.run("--", *TARGETS)
    for table in ("results/manifest/videos.parquet", "results/frames/real/shard-0000.parquet"):
        assert read_rows(tmp_path / "downloaded" / table) == read_rows(local.folder / table)
    assert MeshProject(tmp_path / "downloaded").pixels() == local.pixels()


@pytest.mark.extended
def test_packed_media_heals_lost_videos(tmp_path: Path) -> None:
    project = packed_project(tmp_path / "run")
    project.run("--", *TARGETS)
    before = project.pixels()
    shutil.rmtree(next((project.folder / "results/compress/fake").glob("*/")))
    project.run("--forcerun", "frames", "--", *TARGETS)
    assert project.pixels() == before
