"""Half a second of fuzzing per reader, in a process of its own that may crash; fuzz.py runs as long as one likes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from fuzz import TARGETS

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("fuzz.py")


def test_no_reader_ends_in_a_traceback_or_a_crash(tmp_path: Path) -> None:
    """All in one process, because starting one costs more than the fuzzing."""
    words = ["all", "--seconds", "0.5", "--seed", "1", "--out", str(tmp_path)]
    run = [sys.executable, "-W", "ignore", str(SCRIPT), *words]
    done = subprocess.run(run, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert done.stdout.count(" 0 findings") == len(TARGETS)
