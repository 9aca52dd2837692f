from __future__ import annotations

import pytest
import torch

from deepfakemnist.animate.training.discriminator import (
    MultiScaleDiscriminator,
    discriminator_loss,
    feature_matching_loss,
    generator_loss,
    smallest_picture,
)
from deepfakemnist.config.animator import DiscriminatorModel

pytestmark = pytest.mark.numeric

TINY = DiscriminatorModel(block_expansion=4, max_features=8, num_blocks=2)


def test_vox_adv_has_the_official_parameters():
    """2,758,849 without keypoints; ten heat maps are 10·64·4·4 weights more."""
    with torch.device("meta"):
        plain = MultiScaleDiscriminator(DiscriminatorModel(use_keypoints=False), 10, 3)
        seeing = MultiScaleDiscriminator(DiscriminatorModel(), 10, 3)
    assert sum(parameter.numel() for parameter in plain.parameters()) == 2_758_849
    assert sum(parameter.numel() for parameter in seeing.parameters()) == 2_758_849 + 10_240
    shapes = {name: tuple(tensor.shape) for name, tensor in seeing.state_dict().items()}
    assert shapes["discs.1.down_blocks.0.conv.weight_orig"] == (64, 13, 4, 4)
    assert shapes["discs.1.down_blocks.3.conv.weight_u"] == (512,)
    assert shapes["discs.1.down_blocks.1.norm.weight"] == (128,)
    assert "discs.1.down_blocks.0.norm.weight" not in shapes
    assert shapes["discs.1.conv.weight_orig"] == (1, 512, 1, 1)


def test_features_and_verdicts_of_a_256_picture():
    with torch.device("meta"):
        features, verdict = MultiScaleDiscriminator(DiscriminatorModel(), 10, 3)(
            torch.empty(2, 3, 256, 256), torch.empty(2, 10, 2)
        )
    assert [tuple(level.shape) for level in features] == [
        (2, 64, 126, 126), (2, 128, 61, 61), (2, 256, 29, 29), (2, 512, 26, 26)
    ]  # fmt: skip
    assert verdict.shape == (2, 1, 26, 26)


def test_it_sees_where_the_keypoints_are_if_it_is_meant_to():
    torch.manual_seed(0)
    picture, here, there = torch.rand(1, 3, 32, 32), torch.zeros(1, 4, 2), torch.full((1, 4, 2), 0.5)
    seeing = MultiScaleDiscriminator(TINY, 4, 3).eval()
    blind = MultiScaleDiscriminator(TINY.model_copy(update={"use_keypoints": False}), 4, 3).eval()
    assert not torch.equal(seeing(picture, here)[1], seeing(picture, there)[1])
    assert torch.equal(blind(picture, here)[1], blind(picture, there)[1])


@pytest.mark.parametrize("model", [TINY, DiscriminatorModel()])
def test_no_smaller_picture_can_be_judged(model):
    side = smallest_picture(model)
    discriminator = MultiScaleDiscriminator(model, 1, 3)
    assert discriminator(torch.rand(1, 3, side, side), torch.zeros(1, 1, 2))[1].shape == (1, 1, 2, 2)
    with pytest.raises((RuntimeError, ValueError)):
        discriminator(torch.rand(1, 3, side - 1, side - 1), torch.zeros(1, 1, 2))


def test_losses_are_least_squares():
    real, fake = torch.tensor([1.0, 0.5]), torch.tensor([0.0, 0.5])
    assert discriminator_loss(real, fake).item() == pytest.approx((0 + 0.25) / 2 + (0 + 0.25) / 2)
    assert generator_loss(fake).item() == pytest.approx((1 + 0.25) / 2)


def test_feature_matching_moves_the_animated_features_only():
    real, fake = torch.ones(2, requires_grad=True), torch.zeros(2, requires_grad=True)
    loss = feature_matching_loss([real, real], [fake, fake])
    loss.backward()
    assert loss.item() == 2
    assert real.grad is None
    assert fake.grad.tolist() == [-1, -1]


def test_it_learns_to_tell_rows_from_columns():
    torch.manual_seed(0)
    discriminator = MultiScaleDiscriminator(TINY, 4, 3)
    optimiser = torch.optim.Adam(discriminator.parameters(), lr=2e-2, betas=(0.5, 0.999))
    keypoints = torch.zeros(4, 4, 2)
    rows = torch.rand(4, 3, 32, 1).expand(4, 3, 32, 32)
    for _ in range(60):
        _, real = discriminator(rows, keypoints)
        _, fake = discriminator(rows.transpose(2, 3), keypoints)
        loss = discriminator_loss(real, fake)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.3  # 0.5 is what saying 0.5 to everything costs
