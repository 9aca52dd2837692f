"""Rendering on a GPU against the CPU; all but the last test need one."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from deepfakemnist.actors import Actor, Framing, load_bank, perform
from deepfakemnist.animate.checkpoint import load_checkpoint
from deepfakemnist.animate.cuda import GraphedRender
from deepfakemnist.animate.fomm import FommAnimator
from deepfakemnist.animate.network import EncodedSource, FirstOrderMotionModel, Keypoints
from deepfakemnist.animator_settings import FommModel

WEIGHTS = Path(__file__).parents[2] / "resources" / "animators" / "compact-256.safetensors"
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
#: Not a multiple of the batch: the last one is filled up.
FRAMES, BATCH = 21, 8


@pytest.fixture(scope="module")
def takes() -> tuple[np.ndarray, np.ndarray]:
    """A source's picture and another actor's yaw."""
    bank, close = load_bank(), Framing(eyes_y=0.44, head=0.75)
    return Actor(bank, 57, 57).render(framing=close), perform(
        Actor(bank, 70, 70), "yaw", 3, FRAMES, framing=close
    ).clip()


def animate(takes, precision, device, batch_size=BATCH) -> np.ndarray:
    animator = FommAnimator(load_checkpoint(WEIGHTS), precision=precision, batch_size=batch_size, device=device)
    source, driving = takes
    return np.stack(list(animator.render(animator.prepare_source(source), animator.prepare_driving(driving))))


@needs_gpu
@pytest.mark.parametrize(("precision", "levels", "share"), [("exact", 1, 1.0), ("fast", 2, 0.999)])
def test_a_gpu_renders_what_the_cpu_does(takes, precision, levels, share):
    wanted, made = animate(takes, "exact", "cpu").astype(int), animate(takes, precision, "cuda").astype(int)
    assert made.shape == wanted.shape == (FRAMES, 256, 256, 3)
    assert np.mean(np.abs(made - wanted) <= levels) >= share


@needs_gpu
def test_a_gpu_gives_the_same_frames_twice(takes):
    assert np.array_equal(animate(takes, "fast", "cuda"), animate(takes, "fast", "cuda"))


@needs_gpu
def test_too_large_a_batch_is_halved_until_it_fits(takes, caplog):
    wanted = animate(takes, "exact", "cuda", batch_size=1)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(2**30 / total)
    try:
        with caplog.at_level(logging.WARNING):
            made = animate(takes, "exact", "cuda", batch_size=512)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "out of memory on cuda; going on with" in caplog.text
    assert "no CUDA graph" not in caplog.text
    assert np.max(np.abs(made.astype(int) - wanted)) <= 1


def test_running_out_inside_a_capture_is_no_refusal_of_graphs(monkeypatch):
    """Leaving a capture that failed raises an error of its own, which must not hide what happened."""

    def capture(self, inputs):
        try:
            raise torch.OutOfMemoryError("1 GiB more was wanted")
        finally:
            raise RuntimeError("the capture ended in an error")  # as CUDAGraph.capture_end does

    monkeypatch.setattr(GraphedRender, "_capture", capture)
    render = GraphedRender(FirstOrderMotionModel(FommModel()).generator)
    points = Keypoints(torch.zeros(1, 10, 2), torch.zeros(1, 10, 2, 2))
    with pytest.raises(torch.OutOfMemoryError, match="1 GiB more"):
        render(EncodedSource(*[torch.zeros(1, 3, 64, 64)] * 3), points, points)
