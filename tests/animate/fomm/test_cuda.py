"""GPU rendering against the CPU, CUDA graphs, and running out of memory; all tests but the last need a GPU."""

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
from deepfakemnist.config.animators.fomm import FommModel

WEIGHTS = Path(__file__).parents[3] / "resources" / "animators" / "compact-256.safetensors"
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
#: Not a multiple of the batch size, so that the last batch is padded.
FRAMES, BATCH = 21, 8


@pytest.fixture(scope="module")
def takes() -> tuple[np.ndarray, np.ndarray]:
    """A source image and a driving clip of another actor, a yaw."""
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
def test_gpu_and_cpu_render_the_same_frames(takes, precision, levels, share, caplog):
    with caplog.at_level(logging.WARNING):
        wanted, made = animate(takes, "exact", "cpu").astype(int), animate(takes, precision, "cuda").astype(int)
    assert made.shape == wanted.shape == (FRAMES, 256, 256, 3)
    assert np.mean(np.abs(made - wanted) <= levels) >= share
    assert not caplog.records  # a graph was captured, and reduced precision is accurate in every layer


@needs_gpu
@pytest.mark.parametrize("precision", ["exact", "tf32", "fast"])
def test_gpu_rendering_is_deterministic(takes, precision):
    assert np.array_equal(animate(takes, precision, "cuda"), animate(takes, precision, "cuda"))


@needs_gpu
def test_rendering_with_and_without_a_graph_is_identical(takes):
    plain = FommAnimator(load_checkpoint(WEIGHTS), precision="fast", batch_size=BATCH, device="cuda")
    plain._graphed = None
    source, driving = takes
    wanted = np.stack(list(plain.render(plain.prepare_source(source), plain.prepare_driving(driving))))
    # Without a graph the last batch is not padded, so cuDNN may choose other kernels for it.
    whole = FRAMES // BATCH * BATCH
    assert np.array_equal(animate(takes, "fast", "cuda")[:whole], wanted[:whole])


@contextmanager
def memory_limit(size: int) -> Iterator[None]:
    """Limit this process to ``size`` bytes of GPU memory beyond what it already holds."""
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
    assert "out of memory on cuda; continuing with" in caplog.text
    assert "CUDA graph capture failed" not in caplog.text
    assert np.max(np.abs(made.astype(int) - wanted)) <= 1


@needs_gpu
def test_running_out_of_memory_in_a_capture_halves_the_batch(takes, caplog, monkeypatch):
    """After the warm-up, memory is withdrawn once, at the start of the capture."""
    wanted = animate(takes, "exact", "cuda", batch_size=1)
    capture, withdrawn = cuda.captured_graph, []

    @contextmanager
    def without_memory() -> Iterator[torch.cuda.CUDAGraph]:
        with capture() as graph:
            if not withdrawn:
                withdrawn.append(None)
                torch.cuda.set_per_process_memory_fraction(1e-9)
            try:
                yield graph
            finally:
                torch.cuda.set_per_process_memory_fraction(1.0)

    monkeypatch.setattr(cuda, "captured_graph", without_memory)
    with caplog.at_level(logging.WARNING):
        made = animate(takes, "exact", "cuda")
    assert withdrawn
    assert [record.message for record in caplog.records] == [
        "out of memory on cuda; continuing with batches of 4 frames"
    ]
    assert np.max(np.abs(made.astype(int) - wanted)) <= 1


@needs_gpu
@pytest.mark.parametrize("fault", ["synchronises", "raises"])
def test_a_failed_capture_restores_stream_and_memory(fault):
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
        numbers = torch.rand(4, device="cuda")
        torch.manual_seed(3)
        assert torch.equal(torch.rand(4, device="cuda"), numbers)
        del numbers
    with cuda.captured_graph() as graph:
        y = x + 1
    x.fill_(2)
    graph.replay()
    assert y.sum().item() == 3 * 2**20


@needs_gpu
def test_rendering_continues_without_a_graph_if_capturing_fails(takes, caplog, monkeypatch):
    wanted = animate(takes, "exact", "cuda")
    motion = Generator.motion

    def waiting(self, *given):
        made = motion(self, *given)
        made.deformation.sum().item()
        return made

    monkeypatch.setattr(Generator, "motion", waiting)
    with caplog.at_level(logging.WARNING):
        made = animate(takes, "exact", "cuda")
    assert [record.message[:36] for record in caplog.records] == ["CUDA graph capture failed, rendering"]
    assert np.max(np.abs(made.astype(int) - wanted)) <= 1


def test_running_out_of_memory_in_a_capture_does_not_disable_graphs(monkeypatch):
    """Ending a failed capture raises another error, which must not mask the original one."""

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
