"""Stages that promise the same pixels on every processor, run on simulated ones; see docs/reproducibility.md."""

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
from deepfakemnist.media.encode import SAME_EVERYWHERE, write_working_clip
from deepfakemnist.media.ffmpeg import absolute, find_ffmpeg, frames_input, run_graph

FRAMES = 16
#: This machine's own, which is the newest it can be, beside all the older ones.
STAGES = Path(__file__).parent / "helpers" / "stages_on_a_processor.py"
OLDER = processors.older()


@dataclass(frozen=True)
class Made:
    """What one processor made."""

    pixels: dict[str, str]
    report: dict[str, str]
    arrays: dict[str, np.ndarray]

    def of(self, *stages: str) -> dict[str, str]:
        """Return the hashes of some stages."""
        return {name: value for name, value in self.pixels.items() if name.split()[0] in stages}


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An actor who says yes, in a video as phones make them and in a working clip."""
    folder = tmp_path_factory.mktemp("footage")
    actor = Actor(load_bank(), 57, 57)
    video = Framing(480, 360, eyes_y=0.42, head=0.6)
    graph = frames_input(480, 360, 25).output(
        absolute(folder / "video.mp4"), vcodec="libx264", crf=18, pix_fmt="yuv420p", threads=1, **SAME_EVERYWHERE
    )
    run_graph(graph, find_ffmpeg(), perform(actor, "nod", 3, FRAMES, framing=video).frames())
    close = Framing(eyes_y=0.44, head=0.75)
    write_working_clip(folder / "clip.mp4", perform(actor, "nod", 3, FRAMES, framing=close).frames(), 25)
    return folder


def run_stages(processor: str, footage: Path, out: Path) -> Made:
    command = [
        sys.executable,
        str(STAGES),
        str(footage),
        str(out),
    ]
    done = subprocess.run(
        command, env=processors.environment(processor), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{processor}: {done.stderr}"
    with np.load(out / "arrays.npz") as arrays:
        return Made(**json.loads((out / "pixels.json").read_text()), arrays=dict(arrays))


@pytest.fixture(scope="module")
def native(footage: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return run_stages("native", footage, tmp_path_factory.mktemp("native"))


@pytest.fixture(
    scope="module",
    params=OLDER or [pytest.param("none", marks=pytest.mark.skip(reason="this machine simulates no other processor"))],
)
def other(request: pytest.FixtureRequest, footage: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return run_stages(request.param, footage, tmp_path_factory.mktemp(request.param))


def test_the_processors_differ(native: Made, other: Made) -> None:
    """Without this, the same pixels would prove nothing."""
    taken = {name: (native.report[name], other.report[name]) for name in native.report}
    assert [name for name in ("numba", "libav") if taken[name][0] == taken[name][1]] == []
    if other.report["torch"] == "DEFAULT":  # no AVX at all
        assert [name for name, (here, there) in taken.items() if here == there] == []
        assert not np.array_equal(native.arrays["product"], other.arrays["product"])
        assert not np.array_equal(native.arrays["keypoints"], other.arrays["keypoints"])


@pytest.mark.parametrize(
    ("stages", "count"),
    [
        pytest.param(("ingest", "read"), 3, id="ingest and reading"),
        pytest.param(("crop", "looked"), 9, id="crop by a given box"),
        pytest.param(("compress",), 7, id="compress"),
        pytest.param(("frame",), 21, id="frames"),
        pytest.param(("perturb",), 25, id="perturbations"),
    ],
)
def test_a_stage_makes_the_same_pixels_on_every_processor(
    native: Made, other: Made, stages: tuple[str, ...], count: int
) -> None:
    here, there = native.of(*stages), other.of(*stages)
    assert len(here) == count
    assert {name for name in here if here[name] != there.get(name)} == set()


def test_faces_are_found_in_the_same_place(native: Made, other: Made) -> None:
    """To a few units in the last place of float32, before boxes are rounded to whole pixels."""
    assert len(native.arrays["boxes"]) == FRAMES
    # Measured: 9e-5 on boxes of real and rendered people, whose edges are numbers up to 1280.
    assert np.abs(native.arrays["boxes"] - other.arrays["boxes"]).max() < 4e-4


def test_fomm_differs_by_one_level_at_most(native: Made, other: Made) -> None:
    here, there = native.arrays["fomm"].astype(int), other.arrays["fomm"].astype(int)
    assert here.shape == (4, 256, 256, 3)
    assert np.abs(here - there).max() <= 1
    # Values that lie between two levels go either way: measured 5 in 100,000.
    assert np.mean(here != there) < 1e-3
