"""Detection of processors that compute bfloat16 wrongly, with a warning and fallback to float32."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn

from deepfakemnist.devices.reduced_precision import autocast_is_accurate, benefits_from_reduced_precision

pytestmark = pytest.mark.numeric

CPU = torch.device("cpu")


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 4, 5),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(400, 2),
    )


def test_an_accurate_network_passes_and_is_not_changed(caplog):
    net = network().train()
    net[1].eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.random.get_rng_state()
    assert autocast_is_accurate(net, torch.zeros(1, 3, 16, 16), device=CPU)
    assert not caplog.records
    assert [module.training for module in net] == [True, False, True, True, True, True, True]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not any(module._forward_pre_hooks for module in net.modules())


def test_a_single_output_near_zero_is_no_fault():
    """Rounding errors are small relative to the summands, not relative to a sum that happens to cancel."""
    for seed in range(30):
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Conv2d(512, 3, 1), nn.Flatten(), nn.Linear(3, 2048), nn.Linear(2048, 1))
        assert autocast_is_accurate(network, torch.zeros(1, 512, 1, 1), device=CPU)


@pytest.mark.parametrize(("refused", "description"), [(False, "3 (off by"), (True, "3 (refused: could not create")])
def test_the_warning_names_a_wrong_layer(plant_bfloat16_fault, caplog, refused, description):
    plant_bfloat16_fault(5, refused=refused)
    assert not autocast_is_accurate(network(), torch.zeros(1, 3, 16, 16), device=CPU)
    (warning,) = caplog.records
    assert warning.levelno == logging.WARNING
    assert "bfloat16 is wrong or refused on this processor, training in float32" in warning.message
    assert description in warning.message


def test_an_error_of_the_network_itself_is_not_a_fault_of_the_processor():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        autocast_is_accurate(network(), torch.zeros(1, 3, 20, 20), device=CPU)


@pytest.mark.parametrize(
    ("capabilities", "benefits"),
    [
        ({"avx2": True, "avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, False),
        ({"avx2": True, "avx512_bf16": True}, True),
        ({"avx2": True, "amx_bf16": True}, True),
        ({"architecture": "aarch64", "neon": True}, False),
        ({}, False),
    ],
)
def test_only_processors_with_native_bfloat16_benefit(monkeypatch, capabilities, benefits):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert benefits_from_reduced_precision(CPU) is benefits
    assert benefits_from_reduced_precision(torch.device("cuda"))
