"""Reproducibility of pixels across simulated processors, stage by stage; see docs/reproducibility.md."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import processors
import pytest

from deepfakemnist.actors import Actor, load_bank
from deepfakemnist.actors.perform import perform
from deepfakemnist.actors.pose import Framing
from deepfakemnist.media.encode import DETERMINISTIC_X264, write_working_clip
from deepfakemnist.media.ffmpeg import absolute, find_ffmpeg, frames_input, run_graph

pytestmark = pytest.mark.slow

FRAMES = 16
STAGES = Path(__file__).parent / "helpers" / "stages_on_a_processor.py"
#: Compared with this machine's own processor, the newest it can run.
OLDER = processors.older()


@dataclass(frozen=True)
class Results:
    """Results of all stages on one processor."""

    pixels: dict[str, str]
    report: dict[str, str]
    arrays: dict[str, np.ndarray]

    def of(self, *stages: str) -> dict[str, str]:
        """Return the hashes of the given stages."""
        return {name: value for name, value in self.pixels.items() if name.split()[0] in stages}


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An actor who nods, as a 4:2:0 video and as a working clip."""
    folder = tmp_path_factory.mktemp("footage")
    actor = Actor(load_bank(), 57, 57)
    video = Framing(480, 360, eyes_y=0.42, head=0.6)
    graph = frames_input(480, 360, 25).output(
        absolute(folder / "video.mp4"), vcodec="libx264", crf=18, pix_fmt="yuv420p", threads=1, **DETERMINISTIC_X264
    )
    run_graph(graph, find_ffmpeg(), perform(actor, "nod", 3, FRAMES, framing=video).frames())
    close = Framing(eyes_y=0.44, head=0.75)
    write_working_clip(folder / "clip.mp4", perform(actor, "nod", 3, FRAMES, framing=close).frames(), 25)
    return folder


def run_stages(processor: str, footage: Path, out: Path) -> Results:
    command = [sys.executable, str(STAGES), str(footage), str(out)]
    done = subprocess.run(
        command, env=processors.environment(processor), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{processor}: {done.stderr}"
    with np.load(out / "arrays.npz") as arrays:
        return Results(**json.loads((out / "pixels.json").read_text()), arrays=dict(arrays))


@pytest.fixture(scope="module")
def native(footage: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run_stages("native", footage, tmp_path_factory.mktemp("native"))


@pytest.fixture(
    scope="module",
    params=OLDER or [pytest.param("none", marks=pytest.mark.skip(reason="this machine simulates no older processor"))],
)
def other(request: pytest.FixtureRequest, footage: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run_stages(request.param, footage, tmp_path_factory.mktemp(request.param))


def test_the_processors_differ(native: Results, other: Results) -> None:
    """Otherwise equal pixels would prove nothing."""
    code_paths = {name: (native.report[name], other.report[name]) for name in native.report}
    assert [name for name in ("numba", "libav") if code_paths[name][0] == code_paths[name][1]] == []
    if other.report["torch"] == "DEFAULT":  # a processor without AVX
        assert [name for name, (ours, theirs) in code_paths.items() if ours == theirs] == []
        assert not np.array_equal(native.arrays["product"], other.arrays["product"])
        assert not np.array_equal(native.arrays["keypoints"], other.arrays["keypoints"])


@pytest.mark.parametrize(
    ("stages", "count"),
    [
        pytest.param(("ingest", "read"), 3, id="ingest and reading"),
        pytest.param(("crop", "detector"), 9, id="crop by a given box"),
        pytest.param(("compress",), 7, id="compress"),
        pytest.param(("frame",), 21, id="frames"),
        pytest.param(("perturb",), 25, id="perturbations"),
    ],
)
def test_a_stage_gives_the_same_pixels_on_every_processor(
    native: Results, other: Results, stages: tuple[str, ...], count: int
) -> None:
    ours, theirs = native.of(*stages), other.of(*stages)
    assert len(ours) == count
    assert {name for name in ours if ours[name] != theirs.get(name)} == set()


def test_face_boxes_agree_to_float32_rounding(native: Results, other: Results) -> None:
    """Within a few units in the last place of float32, before boxes are rounded to whole pixels."""
    assert len(native.arrays["boxes"]) == FRAMES
    # Measured: 9e-5 on boxes of real and rendered people, with coordinates up to 1280.
    assert np.abs(native.arrays["boxes"] - other.arrays["boxes"]).max() < 4e-4


def test_fomm_differs_by_one_level_at_most(native: Results, other: Results) -> None:
    ours, theirs = native.arrays["fomm"].astype(int), other.arrays["fomm"].astype(int)
    assert ours.shape == (4, 256, 256, 3)
    assert np.abs(ours - theirs).max() <= 1
    # Values halfway between two levels round either way: measured 5 in 100,000.
    assert np.mean(ours != theirs) < 1e-3
