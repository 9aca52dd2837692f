"""Training step on a GPU; run where there is one."""

from __future__ import annotations

import pytest
import torch

from deepfakemnist.animate.training.losses import Objective
from deepfakemnist.animate.training.pairs import PairSampler, TrainingClip, load_clips
from deepfakemnist.animate.training.state import TrainingState
from deepfakemnist.animate.training.steps import train_step
from deepfakemnist.config.animators.fomm import DiscriminatorModel, TrainAnimatorSettings

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


def test_a_step_does_not_wait_for_the_gpu(tmp_path, small_model, moving_discs):
    small = DiscriminatorModel(block_expansion=4, max_features=8, num_blocks=2)
    settings = TrainAnimatorSettings(batch_size=2, size=32, frames_per_clip=8, adversarial=1.0, discriminator=small)
    clips = load_clips([TrainingClip(frames, "a") for frames in moving_discs], settings, tmp_path)
    device, random = torch.device("cuda"), torch.Generator().manual_seed(0)
    state = TrainingState.new(small_model, settings, True, random, device)
    state.networks.train()
    objective, sampler = Objective(settings, device), PairSampler(clips, settings)
    for mode in ("default", "error"):  # the first step chooses kernels
        state.step += 1
        torch.cuda.set_sync_debug_mode(mode)
        try:
            batch = sampler.batch(sampler.plan(2, random))
            train_step(state, objective, batch.to(device).pairs(), 1e-4, 0.0)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    state.check_finite()
