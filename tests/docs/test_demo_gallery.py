"""Gallery of the demo: the fakes of two runs below their driver, by the script as `make gallery` calls it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.tables.files import write_table
from deepfakemnist.tables.schemas import ANIMATED, CROPPED, SELECTED

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
STATUS = {True: {"status": "ok", "reason": "", "detail": ""}, False: {"status": "rejected", "reason": "", "detail": ""}}
#: Grey level of every clip: of the source, the driver, and the fakes of both runs.
SOURCE, DRIVER, FOMM, MESH = 40, 90, 140, 190


def write_run(folder: Path, animator: str, level: int, accepted: dict[str, bool], animated: set[str]) -> None:
    """Write a run of one source, one driver and the fakes ``accepted`` of them, by action of the driver."""

    def clip(path: Path, grey: int) -> dict[str, str]:
        write_working_clip(path, [np.full((64, 64, 3), grey, np.uint8)] * 6, 25.0)
        return {"path": str(path)}

    crops = [{"video_id": "anna", **STATUS[True], **clip(folder / "anna.mp4", SOURCE)}]
    crops.append({"video_id": "driver", **STATUS[True], **clip(folder / "driver.mp4", DRIVER)})
    write_table(crops, folder / "crop/source/a.parquet", CROPPED)
    fakes = []
    for action in accepted:
        name = f"anna@{action}"
        fake = {"video_id": name, "source_id": "anna", "driver_id": "driver", "action": action.partition("-")[0]}
        made = clip(folder / f"{name}.mp4", level) if action in animated else {}
        fakes.append({**fake, "animator": animator, "source_frame": 0, **made, **STATUS[action in animated]})
    write_table(fakes, folder / "animate/a.parquet", ANIMATED)
    verdicts = [{"video_id": f"anna@{action}", **STATUS[passed]} for action, passed in accepted.items()]
    write_table(verdicts, folder / "select/a.parquet", SELECTED)


def gallery(folder: Path) -> subprocess.CompletedProcess[str]:
    words = ("fomm", "mesh", "gallery.jpg")
    return subprocess.run(
        [sys.executable, ROOT / "docs/demo_gallery.py", *words], cwd=folder, text=True, check=False,
        capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip


def test_every_action_shows_a_pair_that_both_runs_have_with_its_source_and_driver(tmp_path: Path) -> None:
    # blink-1 is accepted by one run; blink-2 by both; one run has no yaw.
    verdicts = {"blink-1": True, "blink-2": True, "yaw-1": True}
    write_run(tmp_path / "fomm", "fomm", FOMM, verdicts, animated=set(verdicts))
    write_run(tmp_path / "mesh", "mesh", MESH, verdicts | {"blink-1": False}, animated={"blink-1", "blink-2"})
    done = gallery(tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "fomm: 1 of 1 fakes shown are accepted\nmesh: 1 of 1 fakes shown are accepted\n"
    picture = np.asarray(Image.open(tmp_path / "gallery.jpg").convert("L")).astype(int)
    lines = [picture[row : row + 120, 130:590] for row in (52, 172, 292)]
    assert [round(np.median(line[20:100])) for line in lines] == pytest.approx([DRIVER, FOMM, MESH], abs=3)
    assert np.median(picture[70:150, 20:110]) == pytest.approx(SOURCE, abs=3)


def test_a_run_without_verdicts_is_named(tmp_path: Path) -> None:
    write_run(tmp_path / "fomm", "fomm", FOMM, {"blink-1": True}, animated={"blink-1"})
    done = gallery(tmp_path)
    assert done.returncode == 1
    assert "mesh holds no fakes with their liveness verdicts; finish the run first" in done.stderr
