"""Reduced precision is used where it is right: on processors that gain by it, refuse it, or compute it wrongly."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from deepfakemnist.animate.checkpoint import load_checkpoint
from deepfakemnist.animate.folded_conv import FoldedConv, check_reduced_layers
from deepfakemnist.animate.fomm import FommAnimator
from deepfakemnist.animator_settings import AnimatorSettings

pytestmark = [
    pytest.mark.numeric,
    pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="no oneDNN, whose calls are replaced here"),
]


class Processor:
    """Answers torch's calls to oneDNN as another processor would; float32 is left to the real one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, bfloat16: bool) -> None:
        self.calls = 0
        self._real = torch.ops.mkldnn._convolution_pointwise
        self._reorder = torch.ops.mkldnn._reorder_convolution_weight
        able = {**torch.cpu.get_capabilities(), "avx512_bf16": bfloat16, "amx_bf16": bfloat16}
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
        monkeypatch.setattr(torch.ops.mkldnn, "_convolution_pointwise", self._convolution)
        monkeypatch.setattr(
            torch.ops.mkldnn,
            "_reorder_convolution_weight",
            lambda weight, *rest: weight if weight.dtype == torch.bfloat16 else self._reorder(weight, *rest),
        )

    def _convolution(self, x, weight, bias, padding, stride, dilation, groups, after, *rest):
        if x.dtype != torch.bfloat16:
            return self._real(x, weight, bias, padding, stride, dilation, groups, after, *rest)
        self.calls += 1
        return self.bfloat16(x, weight, bias, padding, stride, after)

    def bfloat16(self, x, weight, bias, padding, stride, after):
        out = F.conv2d(x.float(), weight.float(), bias.float(), stride, padding)
        return (F.relu(out) if after == "relu" else out).bfloat16()


class WithAmxFault(Processor):
    """oneDNN of torch 2.11 with AMX: 8 input channels and an 8×8 kernel give something else."""

    def bfloat16(self, x, weight, bias, padding, stride, after):
        if weight.shape[1:] == (8, 8, 8):
            x = x.roll(1, 1)
        return super().bfloat16(x, weight, bias, padding, stride, after)


class HeldBack(Processor):
    """A processor that could, with a library that was told not to (ONEDNN_MAX_CPU_ISA=AVX2)."""

    def bfloat16(self, *_):
        raise RuntimeError("bf16 path needs the cpu support avx_ne_convert or avx512bw, avx512vl and avx512dq")


@pytest.fixture
def animate(tiny_checkpoint, tiny_model, expected):
    """Animate the original program's inputs; returns the animator and how far its pictures are from the original's."""

    def run(precision: str) -> tuple[FommAnimator, np.ndarray]:
        settings = AnimatorSettings(model=tiny_model, align_corners=True, precision=precision)
        animator = FommAnimator.from_checkpoint(tiny_checkpoint, settings, device="cpu")
        state, motion = animator.prepare_source(expected["source"]), animator.prepare_driving(expected["driving"])
        made = np.concatenate(list(animator.predict(state, motion)))
        return animator, np.abs(made - expected["prediction__relative_adapt__align_corners_true"])

    return run


def share_within_two_levels(difference: np.ndarray) -> float:
    return float(np.mean(difference <= 2 / 255))


def test_bfloat16_is_used_where_it_is_faster_and_right(animate, monkeypatch, caplog):
    processor = Processor(monkeypatch, bfloat16=True)
    animator, difference = animate("fast")
    assert animator.info.precision == "float32+bfloat16"
    assert processor.calls > 0
    assert share_within_two_levels(difference) >= 0.95  # see test_fomm_animator.py for why not more
    assert not caplog.records


def test_processors_without_bfloat16_compute_in_float32(animate, monkeypatch, caplog, rounding):
    processor = HeldBack(monkeypatch, bfloat16=False)
    animator, difference = animate("fast")
    assert animator.info.precision == "float32"
    assert processor.calls == 0
    assert difference.max() <= rounding["prediction of own keypoints"]
    assert not caplog.records  # nothing is wrong: that is what the processor is best at


def test_a_layer_that_is_computed_wrongly_falls_back_alone(animate, monkeypatch, caplog):
    WithAmxFault(monkeypatch, bfloat16=True)
    animator, difference = animate("fast")
    assert animator.info.precision == "float32+bfloat16 (float32 in final.conv)"
    assert share_within_two_levels(difference) >= 0.95
    (warning,) = caplog.records
    assert warning.levelno == logging.WARNING
    assert (
        "bfloat16 is wrong or refused on this processor, these layers compute in float32: final.conv (off by"
        in warning.message
    )


def test_without_the_check_that_fault_would_ruin_the_picture(animate, monkeypatch):
    """Else the test above would prove nothing."""
    monkeypatch.setattr("deepfakemnist.animate.fomm.check_reduced_layers", lambda *_: [])
    WithAmxFault(monkeypatch, bfloat16=True)
    _, difference = animate("fast")
    assert share_within_two_levels(difference) < 0.2


def test_a_library_that_refuses_is_no_end(animate, monkeypatch, caplog, rounding):
    HeldBack(monkeypatch, bfloat16=True)
    animator, difference = animate("fast")
    assert animator.info.precision == "float32"
    assert difference.max() <= rounding["prediction of own keypoints"]
    (warning,) = caplog.records
    assert ", up_blocks.1.phases.3, final.conv (refused: bf16 path needs the cpu support" in warning.message


def test_sources_of_a_size_are_checked_once(tiny_checkpoint, tiny_model, monkeypatch, caplog):
    """A fault that only large pictures meet is found when the first of them comes."""

    class WithLargeFault(Processor):
        def bfloat16(self, x, weight, bias, padding, stride, after):
            out = super().bfloat16(x, weight, bias, padding, stride, after)
            return out.flip(1) if weight.shape[-1] == 8 and out.shape[-1] >= 48 else out

    processor = WithLargeFault(monkeypatch, bfloat16=True)
    networks = load_checkpoint(tiny_checkpoint, tiny_model)
    animator = FommAnimator(networks, precision="fast", device="cpu")
    small, large = (np.full((side, side, 3), 90, np.uint8) for side in (64, 96))
    animator.prepare_source(small)
    calls = processor.calls
    animator.prepare_source(small)
    assert processor.calls == calls > 0
    assert animator.info.precision == "float32+bfloat16"
    animator.prepare_source(large)
    assert animator.info.precision == "float32+bfloat16 (float32 in final.conv)"
    assert len(caplog.records) == 1


def test_memory_that_runs_out_in_the_check_is_no_fault(tiny_checkpoint, tiny_model, monkeypatch):
    class Full(Processor):
        def bfloat16(self, *_):
            raise torch.OutOfMemoryError("CUDA out of memory")

    Full(monkeypatch, bfloat16=True)
    animator = FommAnimator(load_checkpoint(tiny_checkpoint, tiny_model), precision="fast", device="cpu")
    with pytest.raises(torch.OutOfMemoryError):
        animator.prepare_source(np.full((64, 64, 3), 90, np.uint8))
    assert animator.info.precision == "float32+bfloat16"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("relu", [False, True])
def test_rounding_is_no_fault(dtype, relu):
    """Not even in channels that are nearly always below 0, or have no weights: torch's own arithmetic, not oneDNN's."""
    torch.manual_seed(0)
    weight, bias = torch.randn(6, 32, 3, 3), torch.randn(6)
    weight[1] = bias[1] = 0
    weight[2] *= 1e-3
    bias[3] = -80.0
    bias[4] = 1e3
    layer = FoldedConv(weight, bias, padding=1, relu=relu, dtype=dtype, prepack=False)
    with torch.inference_mode():
        assert layer.fault(torch.randn(1, 32, 128, 128)) is None


@pytest.mark.parametrize("damage", [float("nan"), 3.0])
def test_one_wrong_value_is_a_fault(damage, monkeypatch):
    class WithOneWrongValue(Processor):
        def bfloat16(self, *given):
            out = super().bfloat16(*given)
            out[0, 2, 5, 7] += damage * out[0, 2].float().square().mean().sqrt()
            return out

    WithOneWrongValue(monkeypatch, bfloat16=True)
    layer = FoldedConv(
        torch.randn(4, 8, 3, 3), torch.randn(4), padding=1, relu=False, dtype=torch.bfloat16, prepack=True
    )
    x = torch.randn(1, 8, 16, 16)
    with torch.inference_mode():
        assert check_reduced_layers(torch.nn.Sequential(layer), x) == ["0"]
        np.testing.assert_allclose(layer(x), F.conv2d(x, layer.weight, layer.bias, padding=1), atol=1e-4, rtol=0)


def test_networks_in_float32_have_nothing_to_check():
    def never(*_: object) -> None:
        raise AssertionError("run without need")

    network = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 3))
    network.forward = never  # type: ignore[method-assign]
    assert check_reduced_layers(network, torch.zeros(1, 3, 8, 8)) == []
