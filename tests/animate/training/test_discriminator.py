"""Discriminator: official parameters, output shapes, losses."""

from __future__ import annotations

import pytest
import torch

from deepfakemnist.animate.training.discriminator import (
    MultiScaleDiscriminator,
    discriminator_loss,
    feature_matching_loss,
    generator_loss,
    smallest_image,
)
from deepfakemnist.config.animators.fomm import DiscriminatorModel

pytestmark = pytest.mark.numeric

TINY = DiscriminatorModel(block_expansion=4, max_features=8, num_blocks=2)


def test_vox_adv_has_the_official_parameters():
    """2,758,849 without keypoints; ten heat maps add 10·64·4·4 weights."""
    with torch.device("meta"):
        plain = MultiScaleDiscriminator(DiscriminatorModel(use_keypoints=False), 10, 3)
        conditioned = MultiScaleDiscriminator(DiscriminatorModel(), 10, 3)
    assert sum(parameter.numel() for parameter in plain.parameters()) == 2_758_849
    assert sum(parameter.numel() for parameter in conditioned.parameters()) == 2_758_849 + 10_240
    shapes = {name: tuple(tensor.shape) for name, tensor in conditioned.state_dict().items()}
    assert shapes["discs.1.down_blocks.0.conv.weight_orig"] == (64, 13, 4, 4)
    assert shapes["discs.1.down_blocks.3.conv.weight_u"] == (512,)
    assert shapes["discs.1.down_blocks.1.norm.weight"] == (128,)
    assert "discs.1.down_blocks.0.norm.weight" not in shapes
    assert shapes["discs.1.conv.weight_orig"] == (1, 512, 1, 1)


def test_features_and_scores_of_a_256_image():
    with torch.device("meta"):
        features, scores = MultiScaleDiscriminator(DiscriminatorModel(), 10, 3)(
            torch.empty(2, 3, 256, 256), torch.empty(2, 10, 2)
        )
    assert [tuple(level.shape) for level in features] == [
        (2, 64, 126, 126),
        (2, 128, 61, 61),
        (2, 256, 29, 29),
        (2, 512, 26, 26),
    ]
    assert scores.shape == (2, 1, 26, 26)


def test_scores_depend_on_keypoints_only_with_use_keypoints():
    torch.manual_seed(0)
    image, here, there = torch.rand(1, 3, 32, 32), torch.zeros(1, 4, 2), torch.full((1, 4, 2), 0.5)
    conditioned = MultiScaleDiscriminator(TINY, 4, 3).eval()
    plain = MultiScaleDiscriminator(TINY.model_copy(update={"use_keypoints": False}), 4, 3).eval()
    assert not torch.equal(conditioned(image, here)[1], conditioned(image, there)[1])
    assert torch.equal(plain(image, here)[1], plain(image, there)[1])


@pytest.mark.parametrize("model", [TINY, DiscriminatorModel()])
def test_smaller_images_cannot_be_scored(model):
    side = smallest_image(model)
    discriminator = MultiScaleDiscriminator(model, 1, 3)
    assert discriminator(torch.rand(1, 3, side, side), torch.zeros(1, 1, 2))[1].shape == (1, 1, 2, 2)
    with pytest.raises((RuntimeError, ValueError)):
        discriminator(torch.rand(1, 3, side - 1, side - 1), torch.zeros(1, 1, 2))


def test_losses_are_least_squares():
    real, fake = torch.tensor([1.0, 0.5]), torch.tensor([0.0, 0.5])
    assert discriminator_loss(real, fake).item() == pytest.approx((0 + 0.25) / 2 + (0 + 0.25) / 2)
    assert generator_loss(fake).item() == pytest.approx((1 + 0.25) / 2)


def test_feature_matching_has_gradients_for_the_animated_features_only():
    real, fake = torch.ones(2, requires_grad=True), torch.zeros(2, requires_grad=True)
    loss = feature_matching_loss([real, real], [fake, fake])
    loss.backward()
    assert loss.item() == 2
    assert real.grad is None
    assert fake.grad.tolist() == [-1, -1]


def test_it_learns_to_distinguish_rows_from_columns():
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
    assert loss.item() < 0.3  # a constant score of 0.5 costs 0.5
