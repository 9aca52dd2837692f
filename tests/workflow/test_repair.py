"""Damage to a finished run, whole-tree kills, and the command that heals: all with Snakemake itself."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from face_crops import write_face_crops
from tiny_project import tiny_config

from deepfakemnist.media.samples import samples_sha256
from deepfakemnist.tables.files import read_rows

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("repair")]

ROOT = Path(__file__).parents[2]
PEOPLE = 3
TARGETS = ("results/manifest/videos.parquet", "results/audit/audit.tsv")


class Project:
    """Small face crops as sources, two drivers, the landmark warp and one round of candidates."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def make(cls, folder: Path) -> Project:
        shutil.copytree(ROOT / "config", folder / "config")
        config = {
            **write_face_crops(folder, PEOPLE, drivers=2),
            "shard_size": 4,
            # Every fake passes, so that the second round is an empty table.
            "plan": {"actions": ["yaw"], "quota": PEOPLE, "max_rounds": 2, "expected_pass_rate": 1.0},
            "liveness": tiny_config(folder)["liveness"],
            "frames": {"per_clip": 3},
        }
        (folder / "small.yaml").write_text(yaml.safe_dump(config))
        return cls(folder)

    @property
    def snakemake(self) -> list[str]:
        where = ("--snakefile", str(ROOT / "Snakefile"), "--directory", str(self.folder))
        return [sys.executable, "-m", "snakemake", "--cores", "2", "--nolock", *where, "--configfile", "small.yaml"]

    def start(self, *words: str) -> subprocess.Popen[str]:
        return self._start([*self.snakemake, "--", *TARGETS] if not words else [*self.snakemake, *words])

    def run(self, *words: str, expect: int = 0) -> str:
        return self._output(self.start(*words), expect)

    def command(self, *words: str, expect: int = 0) -> str:
        """Run a ``deepfakemnist`` command."""
        return self._output(self._start([sys.executable, "-m", "deepfakemnist.cli", *words]), expect)

    def pixels(self) -> dict[tuple[str, str], str]:
        """Return (video, quality) → hash of the decoded samples."""
        rows = read_rows(self.folder / "results/manifest/videos.parquet")
        return {(row["video_id"], row["quality"]): samples_sha256(self.folder / row["path"]) for row in rows}

    def one(self, pattern: str) -> Path:
        """Return the first file of a pattern below the results, relative to the project."""
        return next(iter(sorted((self.folder / "results").glob(pattern)))).relative_to(self.folder)

    def _start(self, command: list[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command, cwd=self.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")},
        )  # fmt: skip

    def _output(self, process: subprocess.Popen[str], expect: int) -> str:
        output, _ = process.communicate(timeout=1800)
        assert process.returncode == expect, output[-6000:]
        return output


def jobs(output: str) -> dict[str, int]:
    """Return the job counts by rule, without the total."""
    table = output.split("Job stats:")[1] if "Job stats:" in output else ""
    return {name: int(count) for name, count in re.findall(r"^([a-z_]+) +(\d+)$", table, flags=re.M) if name != "total"}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project after a run that was killed with all its processes four times."""
    project = Project.make(tmp_path_factory.mktemp("original"))
    for begun in ("crop/source/.*.lock", "animate/.*.lock", "compress/fake/*/*/.*.part.mp4", "frames/real/.*.lock"):
        process = project.start()
        deadline = time.monotonic() + 900
        while not list((project.folder / "results").glob(begun)):
            assert process.poll() is None, process.communicate()[0][-4000:]
            assert time.monotonic() < deadline
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    project.run()
    return project


@pytest.fixture
def finished(original: Project, tmp_path: Path) -> Project:
    """A copy to damage, with the times of all files."""
    return Project(Path(shutil.copytree(original.folder, tmp_path / "project")))


def test_a_run_killed_four_times_passes_every_check(original: Project) -> None:
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


def test_all_damage_is_named_and_healed_by_the_jobs_that_made_it(finished: Project) -> None:
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


def test_a_job_that_reads_an_empty_table_names_it_and_the_command(finished: Project) -> None:
    table = finished.one("select/*.parquet")
    empty(finished.folder / table)
    output = finished.run("--forcerun", "compress", "--", f"results/compress/fake/{table.name}", expect=1)
    assert f"{table}: is empty (0 bytes). In a run's results, `deepfakemnist repair` lists" in output
    assert "Traceback" not in output
    assert f"{table}: is empty" in finished.command("repair", expect=1)


def test_a_workflow_whose_rounds_are_cut_names_the_table_and_the_command(finished: Project) -> None:
    table = finished.one("rounds/round2.parquet")
    cut(finished.folder / table)
    output = finished.run("-n", "--", *TARGETS, expect=1)
    assert f"{table}: has no Parquet footer after its" in output
    assert "`deepfakemnist repair`" in output and "Traceback (most recent call last)" not in output


def test_a_release_of_a_damaged_file_stops(finished: Project) -> None:
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
