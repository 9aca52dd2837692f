"""Faults of a cluster (benchmarks/cluster_faults.py): finished work is taken over after each of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from one_node_slurm import missing_programs

ROOT = Path(__file__).parents[2]


@pytest.mark.extended
@pytest.mark.skipif(bool(missing_programs()), reason=f"SLURM {missing_programs()}")
def test_finished_work_is_taken_over_after_every_fault() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks/cluster_faults.py", "--print"], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}, timeout=3000, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("\n| ") >= 5
