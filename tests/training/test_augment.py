"""Strong augmentation: torchvision's random transforms, computed faster."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
import torch
from skimage.data import astronaut
from torchvision.transforms import v2

from deepfakemnist.training import augment as module
from deepfakemnist.training.augment import augment

FACE = torch.from_numpy(np.ascontiguousarray(astronaut()[20:148, 160:288])).permute(2, 0, 1)
#: An image in every shade, pure colours among them.
SHADES = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)).permute(2, 0, 1)


OURS = {name: getattr(module, name) for name in ("_ColourJitter", "_GaussianBlur", "_ResizedCrop", "_Jpeg")}
THEIRS = {
    "_ColourJitter": v2.ColorJitter,
    "_GaussianBlur": v2.GaussianBlur,
    "_ResizedCrop": v2.RandomResizedCrop,
    "_Jpeg": v2.JPEG,
}


@pytest.fixture
def by_torchvision():
    """Strong augmentation by torchvision's own transforms."""
    module._transforms.cache_clear()
    with patch.multiple(module, **THEIRS):
        yield
    module._transforms.cache_clear()


@pytest.mark.numeric
def test_strong_augmentation_is_torchvisions_to_a_few_levels(by_torchvision: None) -> None:
    seeds = range(60)
    expected = [augment(FACE, "strong", seed).int() for seed in seeds]
    with patch.multiple(module, **OURS):
        module._transforms.cache_clear()
        found = [augment(FACE, "strong", seed).int() for seed in seeds]
    differences = torch.stack([one - other for one, other in zip(expected, found, strict=True)])
    assert sum(one.any().item() for one in differences) > 10, "some seeds draw a change that is rounded differently"
    # One level after a change of saturation or hue, or blur, which JPEG may spread. Measured: 21 at most, 0.21 on
    # average regardless of sign, and 0.01 with it.
    assert differences.abs().max() <= 42
    assert differences.abs().float().mean() < 0.5
    assert abs(differences.float().mean()) < 0.05


@pytest.mark.numeric
@pytest.mark.parametrize("image", [FACE, SHADES], ids=["face", "shades"])
@pytest.mark.parametrize("factor", [0.8, 0.93, 1.0, 1.2])
@pytest.mark.parametrize(
    ("name", "differing"), [("brightness", 0.0), ("contrast", 0.02), ("saturation", 0.6), ("hue", 0.02)]
)
def test_a_colour_change_differs_from_torchvisions_by_one_level_at_most(
    image: torch.Tensor, factor: float, name: str, differing: float
) -> None:
    """In so many values; measured: 0, 0, 0.5 and 0.0002. Contrast depends on the last digit of a mean."""
    names = ("brightness", "contrast", "saturation", "hue")
    params = {"fn_idx": torch.tensor([names.index(name)]), **{f"{one}_factor": None for one in names}}
    params[f"{name}_factor"] = factor - 1 if name == "hue" else factor
    found, expected = (
        kind(0.2, 0.2, 0.2, 0.2).transform(image, params).int() for kind in (OURS["_ColourJitter"], v2.ColorJitter)
    )
    assert (found - expected).abs().max() <= 1
    assert (found != expected).float().mean() <= differing


@pytest.mark.numeric
@pytest.mark.parametrize("sigma", [0.1, 0.7, 1.5])
def test_blur_differs_from_torchvisions_by_one_level_at_most(sigma: float) -> None:
    found, expected = (
        kind(5).transform(FACE, {"sigma": [sigma, sigma]}).int() for kind in (OURS["_GaussianBlur"], v2.GaussianBlur)
    )
    assert (found - expected).abs().max() <= 1


@pytest.mark.numeric
@pytest.mark.parametrize("box", [(0, 0, 128, 128), (10, 3, 115, 120), (0, 13, 128, 115)])
def test_a_crop_differs_from_torchvisions_by_one_level_at_most(box: tuple[int, ...]) -> None:
    params = dict(zip(("top", "left", "height", "width"), box, strict=True))
    found, expected = (kind(128).transform(FACE, params).int() for kind in (OURS["_ResizedCrop"], v2.RandomResizedCrop))
    assert found.shape == FACE.shape
    assert (found - expected).abs().max() <= 1


@pytest.mark.numeric
@pytest.mark.parametrize("quality", [40, 75, 100])
def test_jpeg_is_torchvisions(quality: int) -> None:
    found, expected = (kind(50).transform(FACE, {"quality": quality}).int() for kind in (OURS["_Jpeg"], v2.JPEG))
    # Equal as measured; two versions of libjpeg-turbo may round their colour conversion differently.
    assert (found - expected).abs().max() <= 1


def test_all_frames_of_a_clip_get_the_same_transform() -> None:
    clip = torch.stack([FACE, FACE])
    for seed in range(8):
        first, second = augment(clip, "strong", seed)
        assert torch.equal(first, second)
        assert torch.equal(first, augment(FACE, "strong", seed))
