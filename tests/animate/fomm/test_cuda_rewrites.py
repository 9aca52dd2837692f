"""Layer rewrites for CUDA against the plain layers, on the CPU in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from deepfakemnist.animate.fomm.animator import padded_batch
from deepfakemnist.animate.fomm.blocks import UpBlock
from deepfakemnist.animate.fomm.folded_conv import FoldedConv
from deepfakemnist.animate.fomm.inference import TapwiseConv, Target, _rewritten
from deepfakemnist.animate.fomm.matrix_conv import MatrixConv, MatrixUp, MatrixWinograd


@pytest.mark.parametrize("size", [(2, 4, 4), (1, 5, 9), (3, 1, 2)])
def test_upsampling_and_convolution_equal_one_transposed_convolution(size):
    torch.manual_seed(0)
    batch, height, width = size
    block = UpBlock(6, 4).eval()
    nn.init.uniform_(block.norm.running_var, 0.5, 2)
    nn.init.normal_(block.norm.running_mean)
    nn.init.normal_(block.norm.bias)
    made = _rewritten(block, Target(torch.float32, tf32=True, cpu=False))
    assert isinstance(made, FoldedConv)
    x = torch.randn(batch, 6, height, width, dtype=torch.float64)
    with torch.no_grad():
        wanted = block.double()(x)
        got = made.double()._convolved(x, made.weight, made.bias).relu()
    assert got.shape == wanted.shape == (batch, 4, 2 * height, 2 * width)
    assert (got - wanted).abs().max() < 1e-6  # weights were folded in float32


@pytest.mark.parametrize("kind", [MatrixConv, MatrixWinograd])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("size", [(2, 4, 4), (3, 8, 8), (2, 12, 20), (1, 9, 7), (2, 1, 2), (1, 33, 10)])
def test_matrix_products_equal_the_convolution(kind, relu, size):
    torch.manual_seed(0)
    batch, height, width = size
    weight, bias = torch.randn(24, 20, 3, 3) / 14, torch.randn(24)
    x = torch.randn(batch, 20, height, width).contiguous(memory_format=torch.channels_last)
    before = x.clone()
    wanted = F.conv2d(x.double(), weight.double(), bias.double(), padding=1)
    made = kind(weight, bias, relu=relu)(x)
    assert made.shape == wanted.shape
    assert (made - (wanted.relu() if relu else wanted)).abs().max() < 2e-5
    assert torch.equal(x, before)


@pytest.mark.parametrize("size", [(2, 4, 4), (3, 8, 8), (2, 12, 20), (1, 9, 7), (2, 1, 2), (1, 33, 10)])
def test_matrix_products_equal_upsampling_and_convolution(size):
    torch.manual_seed(0)
    batch, height, width = size
    weight, bias = torch.randn(5, 20, 3, 3) / 14, torch.randn(5)
    x = torch.randn(batch, 20, height, width).contiguous(memory_format=torch.channels_last)
    upsampled = F.interpolate(x.double(), scale_factor=2, mode="nearest")
    wanted = F.conv2d(upsampled, weight.double(), bias.double(), padding=1).relu()
    made = MatrixUp(weight, bias)(x)
    assert made.shape == wanted.shape
    assert made.is_contiguous(memory_format=torch.channels_last)
    assert (made - wanted).abs().max() < 1e-5


@pytest.mark.parametrize("layer", [MatrixConv, MatrixUp, MatrixWinograd])
def test_matrix_products_propagate_nan(layer):
    weight, bias = torch.randn(4, 16, 3, 3), torch.randn(4)
    x = torch.randn(1, 16, 12, 12)
    x[0, 3, 5, 6] = torch.nan
    made = layer(weight, bias) if layer is MatrixUp else layer(weight, bias, relu=True)
    assert made(x).isnan().any()


@pytest.mark.parametrize(("outputs", "kernel"), [(11, 7), (1, 7), (3, 3)])
def test_a_tapwise_convolution_equals_the_convolution(outputs, kernel):
    torch.manual_seed(0)
    conv = nn.Conv2d(9, outputs, kernel, padding=kernel // 2)
    made = TapwiseConv(conv)
    x = torch.randn(2, 9, 8, 6).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        wanted = F.conv2d(x.double(), conv.weight.double(), conv.bias.double(), padding=kernel // 2)
        got = made(x)
    assert (got - wanted).abs().max() < 1e-5


def test_the_last_batch_is_padded_to_few_sizes():
    assert [padded_batch(count, 64) for count in (1, 8, 9, 16, 17, 33, 64)] == [8, 8, 16, 16, 32, 64, 64]
    assert [padded_batch(count, 5) for count in (1, 4, 5)] == [5, 5, 5]
    assert [padded_batch(count, 48) for count in (20, 32, 33, 48)] == [32, 32, 48, 48]
    assert padded_batch(1, 1) == 1
