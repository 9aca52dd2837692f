"""Heat maps of every registered detector, and of networks that they were not made for."""

import numpy as np
import pytest
import torch
from torch import nn

from deepfakemnist.detectors.base import Detector
from deepfakemnist.detectors.heat_map import heat_maps, overlay_heat
from deepfakemnist.detectors.registry import DETECTORS, build

pytestmark = pytest.mark.slow

torch.set_num_threads(1)
#: Input of the small transformer: 36 patches of 16 pixels.
SIDE = 96


class UpperLeft(nn.Module):
    """The mean of the upper left quarter, after two convolutions that pass on brightness, or none."""

    def __init__(self, convolutions):
        super().__init__()
        self.layers = nn.Sequential(*(nn.Conv2d(inputs, 1, 1, bias=False) for inputs in (3, 1)[:convolutions]))
        for layer in self.layers:
            nn.init.ones_(layer.weight)

    def forward(self, images):
        maps = nn.functional.avg_pool2d(self.layers(images), 8)
        return maps[:, :, :2, :2].mean(dim=(1, 2, 3))[:, None]


@pytest.mark.parametrize("convolutions", [2, 0], ids=["grad-cam", "occlusion"])
def test_a_heat_map_shows_what_raises_the_logit(convolutions):
    detector = build("meso4", image_size=64).eval()
    detector.network = UpperLeft(convolutions)
    pixels = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    pixels[:, :, 4:12, 4:12] = 255
    (heat,) = heat_maps(detector, pixels)
    assert heat.shape == (64, 64) and heat.max() == 1.0
    assert heat[4:12, 4:12].mean() > 0.5 and heat[40:, 40:].max() == 0.0


def test_the_heat_map_of_a_transformer_lies_where_it_learned_to_look():
    """A small transformer that has learned to find a bright square points at it, wherever it is."""
    torch.manual_seed(0)
    detector = build("timm:test_vit.r160_in1k", image_size=SIDE)
    random = np.random.default_rng(0)

    def pictures(count):
        pixels = random.integers(0, 120, (count, 3, SIDE, SIDE), dtype=np.uint8)
        places = random.integers(0, SIDE // 16, (count, 2)) * 16
        for picture, (top, left) in zip(pixels[::2], places[::2], strict=True):
            picture[:, top : top + 16, left : left + 16] = 255
        return torch.from_numpy(pixels), places, torch.arange(count) % 2 == 0

    optimizer = torch.optim.Adam(detector.parameters(), 2e-3)
    for _ in range(40):
        pixels, _, has_square = pictures(32)
        loss = nn.functional.binary_cross_entropy_with_logits(detector(pixels), has_square.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    detector.eval()
    pixels, places, has_square = pictures(32)
    assert ((detector(pixels) > 0) == has_square).float().mean() > 0.9
    found = 0
    for heat, (top, left) in zip(heat_maps(detector, pixels[::2]), places[::2], strict=True):
        y, x = np.unravel_index(heat.argmax(), heat.shape)
        found += top <= y < top + 16 and left <= x < left + 16
    # By chance one in 36 is hit: 16 of 16 here, 12 leave a margin for other processors.
    assert found >= 12


# clip_norms is the network of clip_probe with fewer frozen layers.
@pytest.mark.parametrize("name", sorted(DETECTORS.keys() - {"clip_norms"}))
def test_every_registered_detector_has_heat_maps(name):
    torch.manual_seed(0)
    config = DETECTORS[name].config
    detector: Detector = build(name, image_size=config.input_size if config.fixed_size else 64).eval()
    before = [parameter.requires_grad for parameter in detector.parameters()]
    pixels = torch.randint(0, 256, (2, *detector.sample_shape), dtype=torch.uint8)
    with torch.inference_mode():
        logits = detector(pixels)
    maps = heat_maps(detector, pixels)
    assert maps.shape == (2, detector.image_size, detector.image_size) and np.isfinite(maps).all()
    assert maps.min() >= 0 and maps.max() == 1 and maps.std() > 0.01
    # The detector is as it was, hooks and attention kernels included.
    assert [parameter.requires_grad for parameter in detector.parameters()] == before
    with torch.inference_mode():
        assert torch.equal(detector(pixels), logits)


def test_the_overlay_is_red_where_heat_is_high_and_blue_where_it_is_low():
    shown = overlay_heat(np.full((2, 2, 3), 128, np.uint8), np.array([[1, 1], [0, 0]], np.float32))
    assert shown[0, 0, 0] > shown[0, 0, 2] and shown[1, 0, 2] > shown[1, 0, 0]
