"""Rendering on a GPU against the CPU; all but the last test need one."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from deepfakemnist.actors import Actor, Framing, load_bank, perform
from deepfakemnist.animate.fomm import cuda
from deepfakemnist.animate.fomm.animator import FommAnimator
from deepfakemnist.animate.fomm.checkpoint import load_checkpoint
from deepfakemnist.animate.fomm.cuda import GraphedRender
from deepfakemnist.animate.fomm.network import EncodedSource, FirstOrderMotionModel, Generator, Keypoints
from deepfakemnist.config.animator import FommModel

WEIGHTS = Path(__file__).parents[3] / "resources" / "animators" / "compact-256.safetensors"
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
@pytest.mark.parametrize(("precision", "levels", "share"), [("exact", 1, 1.0), ("tf32", 2, 0.999), ("fast", 2, 0.999)])
def test_a_gpu_renders_what_the_cpu_does(takes, precision, levels, share, caplog):
    with caplog.at_level(logging.WARNING):
        wanted, made = animate(takes, "exact", "cpu").astype(int), animate(takes, precision, "cuda").astype(int)
    assert made.shape == wanted.shape == (FRAMES, 256, 256, 3)
    assert np.mean(np.abs(made - wanted) <= levels) >= share
    assert not caplog.records  # a graph was captured, and every layer's reduced precision is right


@needs_gpu
@pytest.mark.parametrize("precision", ["exact", "tf32", "fast"])
def test_a_gpu_gives_the_same_frames_twice(takes, precision):
    assert np.array_equal(animate(takes, precision, "cuda"), animate(takes, precision, "cuda"))


@needs_gpu
def test_a_graph_gives_what_its_kernels_give_without_it(takes):
    plain = FommAnimator(load_checkpoint(WEIGHTS), precision="fast", batch_size=BATCH, device="cuda")
    plain._graphed = None
    source, driving = takes
    wanted = np.stack(list(plain.render(plain.prepare_source(source), plain.prepare_driving(driving))))
    # The last batch is not filled up without a graph, so that other kernels may be chosen for it.
    whole = FRAMES // BATCH * BATCH
    assert np.array_equal(animate(takes, "fast", "cuda")[:whole], wanted[:whole])


@contextmanager
def memory_limit(size: int) -> Iterator[None]:
    """Let this process have ``size`` bytes of the card more than it holds already."""
    gc.collect()
    torch.cuda.empty_cache()
    size += torch.cuda.memory_reserved()
    torch.cuda.set_per_process_memory_fraction(size / torch.cuda.get_device_properties(0).total_memory)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@needs_gpu
def test_too_large_a_batch_is_halved_until_it_fits(takes, caplog):
    source, driving = takes
    long = source, np.tile(driving, (25, 1, 1, 1))
    wanted = animate(long, "exact", "cuda")
    with memory_limit(2**30), caplog.at_level(logging.WARNING):
        made = animate(long, "exact", "cuda", batch_size=512)
    assert "out of memory on cuda; going on with" in caplog.text
    assert "no CUDA graph" not in caplog.text
    assert np.max(np.abs(made.astype(int) - wanted)) <= 1


@needs_gpu
def test_running_out_inside_a_capture_halves_the_batch_and_goes_on(takes, caplog, monkeypatch):
    """What the warm-up needed is taken away before the capture, once."""
    wanted = animate(takes, "exact", "cuda", batch_size=1)
    capture, taken = cuda.captured_graph, []

    @contextmanager
    def without_memory() -> Iterator[torch.cuda.CUDAGraph]:
        with capture() as graph:
            if not taken:
                taken.append(None)
                torch.cuda.set_per_process_memory_fraction(1e-9)
            try:
                yield graph
            finally:
                torch.cuda.set_per_process_memory_fraction(1.0)

    monkeypatch.setattr(cuda, "captured_graph", without_memory)
    with caplog.at_level(logging.WARNING):
        made = animate(takes, "exact", "cuda")
    assert taken
    assert [record.message for record in caplog.records] == ["out of memory on cuda; going on with 4 frames at once"]
    assert np.max(np.abs(made.astype(int) - wanted)) <= 1


@needs_gpu
@pytest.mark.parametrize("fault", ["waits for the card", "raises"])
def test_a_failed_capture_leaves_stream_and_memory_as_they_were(fault):
    x = torch.ones(2**20, device="cuda")
    gc.collect()
    torch.cuda.empty_cache()
    stream, reserved = torch.cuda.current_stream(), torch.cuda.memory_reserved()
    for _ in range(3):
        with pytest.raises(ZeroDivisionError if fault == "raises" else RuntimeError), cuda.captured_graph():
            y = torch.cat([x] * 64) + 1
            if fault == "raises":
                raise ZeroDivisionError
            y.sum().item()
        y = None
        assert torch.cuda.current_stream() == stream
        gc.collect()
        torch.cuda.empty_cache()
        assert torch.cuda.memory_reserved() == reserved
        torch.manual_seed(3)
        drawn = torch.rand(4, device="cuda")
        torch.manual_seed(3)
        assert torch.equal(torch.rand(4, device="cuda"), drawn)
        del drawn
    with cuda.captured_graph() as graph:
        y = x + 1
    x.fill_(2)
    graph.replay()
    assert y.sum().item() == 3 * 2**20


@needs_gpu
def test_where_a_graph_cannot_be_captured_rendering_goes_on_without(takes, caplog, monkeypatch):
    wanted = animate(takes, "exact", "cuda")
    motion = Generator.motion

    def waiting(self, *given):
        made = motion(self, *given)
        made.deformation.sum().item()
        return made

    monkeypatch.setattr(Generator, "motion", waiting)
    with caplog.at_level(logging.WARNING):
        made = animate(takes, "exact", "cuda")
    assert [record.message[:36] for record in caplog.records] == ["no CUDA graph could be captured, ren"]
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
