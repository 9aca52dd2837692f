"""Project with the smallest whole run: what it stores is the same after every kill and repair."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import yaml
from face_crops import write_face_crops
from tiny_project import ROOT, tiny_config

from deepfakemnist.media.samples import samples_sha256
from deepfakemnist.tables.files import read_rows

PEOPLE = 3
TARGETS = ("results/manifest/videos.parquet", "results/audit/audit.tsv")


class MeshProject:
    """Small face crops as sources, two drivers, the landmark mesh and one round of candidates.

    Its targets are the manifest and its audit. Without Snakemake's lock, a run may start beside jobs of a killed one.
    """

    #: Where Python finds packages, in the run and its jobs.
    python_path = str(ROOT / "src")
    #: Seconds after which a run counts as hanging.
    patience_s = 1800

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = folder / "output.txt"

    @classmethod
    def make(cls, folder: Path, **sections: object) -> Self:
        """Write the project; ``sections`` of the config replace those described above."""
        shutil.copytree(ROOT / "config", folder / "config")
        config = {
            **write_face_crops(folder, PEOPLE, drivers=2),
            "shard_size": 4,
            # Every fake passes, so that the second round is an empty table.
            "plan": {"actions": ["yaw"], "quota": PEOPLE, "max_rounds": 2, "expected_pass_rate": 1.0},
            "liveness": tiny_config(folder)["liveness"],
            "frames": {"per_clip": 3},
            **sections,
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
        return self._ended(self.start(*words), expect)

    def command(self, *words: str, expect: int = 0) -> str:
        """Run a ``deepfakemnist`` command."""
        return self._ended(self._start([sys.executable, "-m", "deepfakemnist.cli", *words]), expect)

    def kill(self, begun: str, whole_tree: bool = True) -> None:
        """Start a run, and kill it with SIGKILL as soon as a file below the results exists.

        Args:
            begun: glob of the file, below the results.
            whole_tree: kill all of its processes; otherwise Snakemake alone, whose jobs go on.
        """
        before = set((self.folder / "results").glob(begun))
        process = self.start()
        deadline = time.monotonic() + 900
        while not set((self.folder / "results").glob(begun)) - before:
            assert process.poll() is None, self.output.read_text()[-4000:]
            assert time.monotonic() < deadline, self.output.read_text()[-4000:]
            time.sleep(0.005)
        (os.killpg if whole_tree else os.kill)(process.pid, signal.SIGKILL)
        process.wait()

    def pixels(self) -> dict[tuple[str, str], str]:
        """Return (video, quality) → hash of the decoded samples."""
        rows = read_rows(self.folder / "results/manifest/videos.parquet")
        return {(row["video_id"], row["quality"]): samples_sha256(self.folder / row["path"]) for row in rows}

    def one(self, pattern: str) -> Path:
        """Return the first file of a pattern below the results, relative to the project."""
        return next(iter(sorted((self.folder / "results").glob(pattern)))).relative_to(self.folder)

    def _start(self, command: list[str]) -> subprocess.Popen[str]:
        # To a file: jobs that outlive a killed Snakemake would keep a pipe open.
        with self.output.open("w") as output:
            return subprocess.Popen(
                command, cwd=self.folder, text=True, stdout=output, stderr=subprocess.STDOUT,
                start_new_session=True, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": self.python_path},
            )  # fmt: skip

    def _ended(self, process: subprocess.Popen[str], expect: int) -> str:
        try:
            process.wait(timeout=self.patience_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise AssertionError(f"it hangs:\n{self.output.read_text()[-6000:]}") from None
        assert process.returncode == expect, self.output.read_text()[-6000:]
        return self.output.read_text()
