"""TPSMM on a GPU against the original program's frames; needs a GPU."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from deepfakemnist.animate.tpsmm.animator import TpsmmAnimator

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


def rendered(networks, expected, precision: str) -> np.ndarray:
    animator = TpsmmAnimator(networks, precision=precision, batch_size=3, device="cuda")
    state, motion = animator.prepare_source(expected["source_u8"]), animator.prepare_driving(expected["driving_u8"])
    return np.stack(list(animator.render(state, motion)))


@pytest.mark.parametrize(("precision", "levels", "share"), [("exact", 1, 1.0), ("tf32", 2, 0.999), ("fast", 2, 0.999)])
def test_a_gpu_renders_the_frames_of_the_original_program(networks, expected, precision, levels, share, caplog):
    with caplog.at_level(logging.WARNING):
        made = rendered(networks, expected, precision).astype(int)
    assert np.mean(np.abs(made - expected["frames_u8__relative"]) <= levels) >= share
    assert not caplog.records  # reduced precision is accurate in every layer


@pytest.mark.parametrize("precision", ["exact", "tf32", "fast"])
def test_gpu_rendering_of_splines_is_deterministic(networks, expected, precision):
    assert np.array_equal(rendered(networks, expected, precision), rendered(networks, expected, precision))
