"""Compiled instance norm, and Winograd residual blocks around it, against torch in float64."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepfakemnist.animate.fomm.blocks import ResidualBlock
from deepfakemnist.animate.tpsmm.instance_norm import InstanceNormReLU, WinogradInstanceNormResidual
from deepfakemnist.animate.tpsmm.network import instance_norm

pytestmark = pytest.mark.numeric


@pytest.fixture(params=[1, 2], ids=["1 thread", "2 threads"])
def threads(request) -> Iterator[None]:
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(1)


def settled(norm: nn.Module) -> nn.Module:
    nn.init.uniform_(norm.weight, 0.7, 1.3)
    nn.init.normal_(norm.bias, 0, 0.1)
    return norm


def normalised(norm: nn.Module, x: Tensor) -> Tensor:
    return F.relu(copy.deepcopy(norm).double()(x.double()))


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("shape", [(3, 20, 5, 7), (1, 8, 4, 4), (2, 64, 32, 32)])
def test_every_image_has_its_own_statistics(shape):
    torch.manual_seed(0)
    norm = settled(instance_norm(shape[1]))
    # Far from zero, as a mean of squares minus a squared mean would show.
    x = torch.randn(shape) + 30 * torch.randn(shape[:2])[..., None, None]
    wanted = normalised(norm, x)
    with torch.inference_mode():
        for cpu in (True, False):
            made = InstanceNormReLU(norm, cpu=cpu)(x.clone())
            # Inputs up to 100 are rounded to 4e-6, and scaled by up to 1.3 over their deviation.
            np.testing.assert_allclose(made, wanted.detach(), atol=5e-5, rtol=0)


def test_nan_stays_in_its_channel():
    x = torch.randn(1, 4, 6, 6)
    x[0, 1, 2, 3] = float("nan")
    with torch.inference_mode():
        made = InstanceNormReLU(instance_norm(4), cpu=True)(x)
    assert torch.isnan(made).flatten(2).any(2).tolist() == [[False, True, False, False]]


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("size", [(2, 16, 16), (3, 9, 6)])
def test_winograd_computes_a_residual_block_with_instance_norm(size):
    torch.manual_seed(0)
    batch, height, width = size
    block = ResidualBlock(128, norm=instance_norm)
    for norm in (block.norm1, block.norm2):
        settled(norm)
    x = torch.randn(batch, 128, height, width)
    with torch.inference_mode():
        wanted = copy.deepcopy(block).double()(x.double())
        # Four times the measured 1.4e-5 (two sums of 1,152 products each).
        np.testing.assert_allclose(WinogradInstanceNormResidual(block)(x), wanted, atol=6e-5, rtol=0)
