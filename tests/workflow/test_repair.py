"""Damage to a finished run, whole-tree kills, and the command that heals: all with Snakemake itself."""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from mesh_project import PEOPLE, TARGETS, MeshProject

from deepfakemnist.tables.files import read_rows
from deepfakemnist.tables.journal import Journal

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("repair")]


def jobs(output: str) -> dict[str, int]:
    """Return the job counts by rule, without the total."""
    table = output.split("Job stats:")[1] if "Job stats:" in output else ""
    return {name: int(count) for name, count in re.findall(r"^([a-z_]+) +(\d+)$", table, flags=re.M) if name != "total"}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> MeshProject:
    """The project after a run that was killed twice with all its processes; the extended suite kills it more often."""
    project = MeshProject.make(tmp_path_factory.mktemp("original"))
    for begun in ("animate/.*.lock", "compress/fake/*/*/.*.part.mp4"):
        project.kill(begun)
    project.run()
    return project


@pytest.fixture
def finished(original: MeshProject, tmp_path: Path) -> MeshProject:
    """A copy to damage, with the times of all files."""
    return MeshProject(Path(shutil.copytree(original.folder, tmp_path / "project")))


def test_a_killed_run_passes_every_check(original: MeshProject) -> None:
    output = original.command("manifest", "check", "--decode")
    assert f"{2 * PEOPLE * 3} videos and {2 * PEOPLE * 3 * 3} frames match the manifest." in output
    assert "unfinished" not in output and "carry no checksum" not in output
    assert "Nothing to be done" in original.run("-n", "--", *TARGETS)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[int(np.random.default_rng(len(content)).integers(len(content)))] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


#: What is damaged, and how.
DAMAGE = {
    "crop/source/*/p0.mp4": flip,
    "crop/driver/*/d1.mp4": Path.unlink,
    "extract_motion/*/d0.npz": flip,
    "animate/*/p1@*.mp4": cut,
    "compress/real/*/c23/p2.mp4": Path.unlink,
    "compress/fake/*/c40/p0@*.mp4": flip,
    "frames/real/*.parquet": flip,
    "frames/fake/*.parquet": cut,
    "plan/*.parquet": empty,
    "rounds/round2.parquet": empty,
    "manifest/pairs.parquet": cut,
}
#: Tables of which nothing is left that says what they were.
UNKNOWN = ("plan/", "rounds/", "manifest/pairs")
RULES = {"rounds": "draw_candidates"}


def test_all_damage_is_named_and_healed_by_the_jobs_that_made_it(finished: MeshProject) -> None:
    before = finished.pixels()
    paths = [str(finished.one(pattern)) for pattern in DAMAGE]
    for path, damage in zip(paths, DAMAGE.values(), strict=True):
        times = (finished.folder / path).stat()
        damage(finished.folder / path)
        if (finished.folder / path).exists():
            os.utime(finished.folder / path, ns=(times.st_atime_ns, times.st_mtime_ns))
    checked = finished.command("manifest", "check", "--decode", expect=1)
    listed = finished.command("repair", expect=1)
    for path in paths:
        assert path in checked and path in listed, path
    tables = {path for path in paths if path.endswith(".parquet")} | set(re.findall(r"made again with (\S+)\)", listed))
    assert f"{len(paths)} damaged files; {len(tables)} tables to be made again." in listed
    assert "Nothing was changed" in listed

    output = finished.command("repair", "--run", *finished.snakemake)
    wanted = Counter(RULES.get(table.split("/")[1], table.split("/")[1]) for table in tables)
    ran = jobs(output)
    assert {rule: ran.get(rule) for rule in wanted} == wanted
    # Jobs between two of them run too, and take every video over.
    assert set(ran) - set(wanted) <= {"liveness", "select", "quota"}
    made = {"crop/source": 1, "extract_motion": 1, "animate": 1, "liveness": 0, "compress/real": 1}
    for rule, processed in made.items():
        (log,) = (finished.folder / "results/logs" / rule).rglob("*.log")
        assert f"; {processed} of " in log.read_text(encoding="utf-8"), rule
    # A damaged table of the manifest is made again together with the others.
    beside = len(list((finished.folder / "results/manifest").glob("*.parquet"))) - 1
    assert f"{len(tables) + beside - len(UNKNOWN)} tables are as they were before the damage" in output
    other = re.search(r"makes again what depends on them: (.*)", output)
    assert other and len(other[1].split(", ")) == len(UNKNOWN)
    assert "match the manifest" in finished.command("manifest", "check", "--decode")
    assert "Nothing to be done" in finished.run("-n", "--", *TARGETS)
    assert finished.pixels() == before
    assert "0 damaged files; 0 tables to be made again." in finished.command("repair")


def test_failed_rows_are_tried_again_and_nothing_else(finished: MeshProject) -> None:
    before = finished.pixels()
    crop = finished.folder / finished.one("crop/source/*/p0.mp4")
    table = next(
        path for path in sorted((finished.folder / "results/compress/real").glob("*.parquet"))
        if "p0" in {row["video_id"] for row in read_rows(path)}
    ).relative_to(finished.folder)  # fmt: skip
    whole, times = crop.read_bytes(), crop.stat()
    flip(crop)
    (finished.folder / table).unlink()
    Journal.of_table(finished.folder / table).remove()  # as if this were the shard's first run
    finished.run("--", str(table))
    failed = [row["reason"] for row in read_rows(finished.folder / table) if row["status"] == "failed"]
    assert failed == ["input_changed"]
    crop.write_bytes(whole)
    os.utime(crop, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert "Nothing to be done" in finished.run("-n", "--", str(table)), "a finished table is never out of date"
    listed = finished.command("retry", "--dry-run", "--run", *finished.snakemake, "--", *TARGETS, expect=1)
    assert f"again {table}: 1 × input_changed" in listed and "Nothing was changed" in listed

    output = finished.command("retry", "--run", *finished.snakemake, "--", *TARGETS)
    assert "0 of 1 rows failed again." in output
    assert jobs(output)["compress"] == 1
    log = (finished.folder / "results/logs/compress/real" / f"{table.stem}.log").read_text(encoding="utf-8")
    good = len(read_rows(finished.folder / table)) // 3
    assert f"; 1 of {good} videos processed" in log
    assert "Nothing to be done" in finished.run("-n", "--", *TARGETS)
    assert finished.pixels() == before


def test_a_job_that_reads_an_empty_table_names_it_and_the_command(finished: MeshProject) -> None:
    table = finished.one("select/*.parquet")
    empty(finished.folder / table)
    output = finished.run("--forcerun", "compress", "--", f"results/compress/fake/{table.name}", expect=1)
    assert f"{table}: is empty (0 bytes). In a run's results, `deepfakemnist repair` lists" in output
    assert "Traceback" not in output
    assert f"{table}: is empty" in finished.command("repair", expect=1)


def test_a_workflow_whose_rounds_are_cut_names_the_table_and_the_command(finished: MeshProject) -> None:
    table = finished.one("rounds/round2.parquet")
    cut(finished.folder / table)
    output = finished.run("-n", "--", *TARGETS, expect=1)
    assert f"{table}: has no Parquet footer after its" in output
    assert "`deepfakemnist repair`" in output and "Traceback (most recent call last)" not in output


def test_a_release_of_a_damaged_file_stops(finished: MeshProject) -> None:
    finished.command("release", "out")
    shutil.rmtree(finished.folder / "out")
    for pattern in ("compress/real/*/c23/p2.mp4", "frames/fake/*.parquet"):
        path = finished.folder / finished.one(pattern)
        content = path.read_bytes()
        flip(path)
        output = finished.command("release", "out", expect=1)
        assert str(path.relative_to(finished.folder)) in output and "Nothing is released" in output
        assert not (finished.folder / "out").exists()
        path.write_bytes(content)


def test_spent_animations_go_by_config_are_no_damage_and_come_back(finished: MeshProject) -> None:
    config = yaml.safe_load((finished.folder / "small.yaml").read_text())
    config["disk"] = {"intermediate": "remove"}
    (finished.folder / "small.yaml").write_text(yaml.safe_dump(config))
    shard = finished.one("animate/*.parquet")
    clips = sorted(finished.folder.glob("results/animate/*/*.mp4"))
    before = {path: path.read_bytes() for path in clips}
    planned = finished.command("gc", "--dry-run", "--configfile", "small.yaml")
    assert "0.000 GB would be freed" in planned, "nothing has judged the animations yet"

    output = finished.run("--", *TARGETS, f"results/judge/{shard.name}")
    # All were accepted; of rejected ones, the gallery shows the first.
    assert f"Removed {PEOPLE} intermediate clips" in output
    assert not any(path.exists() for path in clips)
    assert "match the manifest" in finished.command("manifest", "check", "--decode")
    assert "0 damaged files" in finished.command("repair")
    assert "Nothing to be done" in finished.run("-n", "--", *TARGETS)

    refused = finished.run("--forcerun", "compress", "--", *TARGETS, expect=1)
    assert f"results/select/{shard.name}. Have them made again first" in refused and "gc --restore --run" in refused
    assert "match the manifest" in finished.command("manifest", "check")

    command = ("gc", "--configfile", "small.yaml", "--restore")
    assert f"{PEOPLE} clips of 1 tables were removed" in finished.command(*command, "--dry-run")
    restored = finished.command(*command, "--run", *finished.snakemake)
    assert "1 tables are as they were before the damage" in restored
    assert {path: path.read_bytes() for path in clips} == before
    assert "Nothing to be done" in finished.run("-n", "--", *TARGETS)
