"""Validation of reduced precision: a GPU's layers emulated on the CPU, correct, wrong or unsupported."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from deepfakemnist.animate.fomm.animator import FommAnimator
from deepfakemnist.animate.fomm.checkpoint import load_checkpoint
from deepfakemnist.animate.fomm.folded_conv import FoldedConv, check_reduced_layers
from deepfakemnist.animate.fomm.inference import decoder_dtype, rewritten
from deepfakemnist.config.animators.registry import animator_settings
from deepfakemnist.devices.reduced_precision import deterministic_cudnn

pytestmark = pytest.mark.numeric


class Gpu:
    """Emulates a GPU: its rewrites, and reduced-precision layers with rounded factors and float32 accumulation."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        self._whole = FoldedConv._convolved
        monkeypatch.setattr(FoldedConv, "_convolved", lambda layer, *given: self._convolved(layer, *given))
        monkeypatch.setattr("deepfakemnist.animate.fomm.animator.optimised", self._optimised)

    @staticmethod
    def _optimised(networks, *, precision, device, consume):
        return rewritten(networks, decoder_dtype(precision, torch.device("cuda")), cpu=False)

    def _convolved(self, layer, x, weight, bias):
        if x.dtype == torch.float32:
            return self._whole(layer, x, weight, bias)
        self.calls += 1
        return self.reduced(layer, x, weight, bias)

    def reduced(self, layer, x, weight, bias):
        return self._whole(layer, x.float(), weight.float(), bias.float()).to(x.dtype)


class WithFault(Gpu):
    """Mixes up the channels in 10×10 kernels over 8 channels, the last layer of the tiny networks."""

    def reduced(self, layer, x, weight, bias):
        return super().reduced(layer, x.roll(1, 1) if weight.shape[1:] == (8, 10, 10) else x, weight, bias)


class Refusing(Gpu):
    """Supports no reduced-precision layer."""

    def reduced(self, *_):
        raise RuntimeError("GET was unable to find an engine to execute this computation")


@pytest.fixture
def animate(tiny_checkpoint, tiny_model, expected):
    """Animate the inputs of the original program; return the animator and its difference from the original output."""

    def run(precision: str) -> tuple[FommAnimator, np.ndarray]:
        settings = animator_settings(name="fomm", model=tiny_model, align_corners=True, precision=precision)
        animator = FommAnimator.from_checkpoint(tiny_checkpoint, settings, device="cpu")
        state, motion = animator.prepare_source(expected["source"]), animator.prepare_driving(expected["driving"])
        made = np.concatenate(list(animator.predict(state, motion)))
        return animator, np.abs(made - expected["prediction__relative_adapt__align_corners_true"])

    return run


def share_within_two_levels(difference: np.ndarray) -> float:
    return float(np.mean(difference <= 2 / 255))


def test_float16_is_used_where_it_is_accurate(animate, monkeypatch, caplog):
    gpu = Gpu(monkeypatch)
    animator, difference = animate("fast")
    assert animator.info.precision == "float32+float16"
    assert gpu.calls > 0
    assert share_within_two_levels(difference) >= 0.999
    assert not caplog.records


def test_only_the_wrong_layer_falls_back(animate, monkeypatch, caplog):
    WithFault(monkeypatch)
    animator, difference = animate("fast")
    assert animator.info.precision == "float32+float16 (float32 in final.conv)"
    assert share_within_two_levels(difference) >= 0.999
    (warning,) = caplog.records
    assert warning.levelno == logging.WARNING
    assert (
        "float16 is wrong or refused on this processor, these layers compute in float32: final.conv (off by"
        in warning.message
    )


def test_without_the_check_the_fault_ruins_the_image(animate, monkeypatch):
    """Otherwise the test above would prove nothing."""
    monkeypatch.setattr("deepfakemnist.animate.fomm.animator.check_reduced_layers", lambda *_: [])
    WithFault(monkeypatch)
    _, difference = animate("fast")
    assert share_within_two_levels(difference) < 0.2


def test_unsupported_layers_fall_back_to_float32(animate, monkeypatch, caplog, rounding):
    Refusing(monkeypatch)
    animator, difference = animate("fast")
    assert animator.info.precision == "float32"
    assert difference.max() <= rounding["prediction of own keypoints"]
    (warning,) = caplog.records
    assert ", up_blocks.1, final.conv (refused: GET was unable" in warning.message
    assert warning.message.count("refused: ") == 1


def test_layers_are_checked_once_per_image_size(tiny_checkpoint, tiny_model, monkeypatch, caplog):
    """A fault that affects only large images is found at the first large one."""

    class WithLargeFault(Gpu):
        def reduced(self, layer, x, weight, bias):
            out = super().reduced(layer, x, weight, bias)
            return out.flip(1) if weight.shape[-1] == 10 and x.shape[-1] >= 96 else out

    gpu = WithLargeFault(monkeypatch)
    networks = load_checkpoint(tiny_checkpoint, tiny_model)
    animator = FommAnimator(networks, precision="fast", device="cpu")
    small, large = (np.full((side, side, 3), 90, np.uint8) for side in (64, 96))
    animator.prepare_source(small)
    calls = gpu.calls
    animator.prepare_source(small)
    assert gpu.calls == calls > 0
    assert animator.info.precision == "float32+float16"
    animator.prepare_source(large)
    assert animator.info.precision == "float32+float16 (float32 in final.conv)"
    assert len(caplog.records) == 1


def test_running_out_of_memory_in_the_check_is_not_a_fault(tiny_checkpoint, tiny_model, monkeypatch):
    class Full(Gpu):
        def reduced(self, *_):
            raise torch.OutOfMemoryError("CUDA out of memory")

    Full(monkeypatch)
    animator = FommAnimator(load_checkpoint(tiny_checkpoint, tiny_model), precision="fast", device="cpu")
    with pytest.raises(torch.OutOfMemoryError):
        animator.prepare_source(np.full((64, 64, 3), 90, np.uint8))
    assert animator.info.precision == "float32+float16"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("relu", [False, True])
def test_rounding_is_not_a_fault(dtype, relu):
    """Real torch arithmetic, including channels that are almost always negative or have zero weights."""
    torch.manual_seed(0)
    weight, bias = torch.randn(6, 32, 3, 3), torch.randn(6)
    weight[1] = bias[1] = 0
    weight[2] *= 1e-3
    bias[3] = -80.0
    bias[4] = 1e3
    layer = FoldedConv(weight, bias, padding=1, relu=relu, dtype=dtype, prepack=False)
    with torch.inference_mode():
        assert layer.find_fault(torch.randn(1, 32, 128, 128)) is None


@pytest.mark.parametrize("damage", [float("nan"), 3.0])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_one_wrong_value_is_a_fault(dtype, damage, monkeypatch):
    class WithOneWrongValue(Gpu):
        def reduced(self, *given):
            out = super().reduced(*given)
            out[0, 2, 5, 7] += damage * out[0, 2].float().square().mean().sqrt()
            return out

    WithOneWrongValue(monkeypatch)
    layer = FoldedConv(torch.randn(4, 8, 3, 3), torch.randn(4), padding=1, relu=False, dtype=dtype, prepack=False)
    x = torch.randn(1, 8, 16, 16)
    with torch.inference_mode():
        assert check_reduced_layers(torch.nn.Sequential(layer), x) == ["0"]
        np.testing.assert_allclose(layer(x), F.conv2d(x, layer.weight, layer.bias, padding=1), atol=1e-4, rtol=0)


def test_tf32_layers_are_checked_too(monkeypatch, caplog):
    """The CPU has no TF32, so it is emulated according to torch's flags: right in one layer, wrong in the other."""
    whole = FoldedConv._convolved

    def truncated(value, bits):
        return (value.contiguous().view(torch.int32) + (1 << bits - 1) >> bits << bits).view(torch.float32)

    def convolved(layer, x, weight, bias):
        if torch.backends.cudnn.conv.fp32_precision != "tf32":
            return whole(layer, x, weight, bias)
        bits = 13 if weight.shape[2] == 3 else 20
        return whole(layer, truncated(x, bits), truncated(weight, bits), bias)

    monkeypatch.setattr(FoldedConv, "_convolved", convolved)
    torch.manual_seed(0)
    right, wrong = (
        FoldedConv(torch.randn(4, 4, k, k), torch.zeros(4), padding=0, relu=False, dtype=torch.float32, prepack=False)
        for k in (3, 5)
    )
    right.tf32 = wrong.tf32 = True
    with torch.inference_mode(), deterministic_cudnn(tf32=False):  # as animators render on CUDA
        assert check_reduced_layers(torch.nn.Sequential(right, wrong), torch.zeros(1, 4, 16, 16)) == ["1"]
    assert [layer.arithmetic for layer in (right, wrong)] == ["tf32", "float32"]
    (warning,) = caplog.records
    assert "tf32 is wrong or refused on this processor, these layers compute in float32: 1 (off by" in warning.message


def test_reduced_precision_weights_cannot_be_prepacked():
    with pytest.raises(ValueError, match="in float32, not in torch.bfloat16"):
        FoldedConv(torch.ones(4, 4, 3, 3), torch.ones(4), padding=1, relu=False, dtype=torch.bfloat16, prepack=True)


def test_networks_in_float32_have_nothing_to_check():
    def never(*_: object) -> None:
        raise AssertionError("unnecessary forward pass")

    network = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 3))
    network.forward = never  # type: ignore[method-assign]
    assert check_reduced_layers(network, torch.zeros(1, 3, 8, 8)) == []
