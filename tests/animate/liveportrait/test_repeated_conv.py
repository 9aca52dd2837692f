"""Convolution of a map whose pixels repeat, against convolution of the enlarged map."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from deepfakemnist.animate.liveportrait.repeated_conv import repeated_conv


@pytest.mark.parametrize("times", [1, 2, 3, 4])
def test_it_equals_the_convolution_of_the_enlarged_map(times):
    torch.manual_seed(0)
    maps, weight, bias = torch.randn(2, 3, 5, 4).double(), torch.randn(6, 3, 3, 3).double(), torch.randn(6).double()
    enlarged = F.interpolate(maps, scale_factor=times, mode="nearest")
    found = repeated_conv(maps, weight, bias, times)
    torch.testing.assert_close(found, F.conv2d(enlarged, weight, bias, padding=1), rtol=0, atol=1e-12)
