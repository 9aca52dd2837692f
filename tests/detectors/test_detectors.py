"""Detectors through the registry: sizes, ranges, layer order, and messages."""

import math

import pytest
import torch
from torch import nn

from deepfakemnist.detectors.meso import SamePool
from deepfakemnist.detectors.registry import DETECTORS, build, detector_config
from deepfakemnist.errors import ConfigError


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("name", "count"),
    # torchvision's models have 25,557,032, 44,549,160 and 60,192,808; 1000 logits of 2049 parameters become one.
    [
        ("meso4", 27_977),
        ("resnet50", 25_557_032 - 999 * 2049),
        ("resnet101", 44_549_160 - 999 * 2049),
        ("resnet152", 60_192_808 - 999 * 2049),
    ],
)
def test_number_of_parameters(name, count):
    with torch.device("meta"):  # counts need no memory
        assert parameters(build(name)) == count


@pytest.mark.parametrize(("name", "size"), [("meso4", 256), ("meso4", 50), ("resnet50", 64)])
def test_one_logit_per_picture(name, size):
    torch.manual_seed(0)
    detector = build(name, image_size=size).eval()
    pixels = torch.randint(0, 256, (3, 3, size, size), dtype=torch.uint8)
    logits = detector(pixels)
    assert logits.shape == (3,)
    assert torch.isfinite(logits).all()
    assert len(set(logits.tolist())) == 3
    assert torch.allclose(detector(pixels[1:2]), logits[1:2], atol=1e-5)


def test_registry_names_agree_with_the_configs():
    assert {name: detector_config(name).name for name in DETECTORS} == {name: name for name in DETECTORS}
    assert detector_config("meso4").input_size == 256
    assert detector_config("resnet50").input_size == 224


def test_meso4_sees_pixels_in_zero_to_one_without_mean():
    torch.manual_seed(0)
    detector = build("meso4", image_size=32).eval()
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    assert torch.equal(detector(pixels), detector.network(pixels / 255.0).squeeze(1))


def test_resnet_sees_pixels_normalised_as_imagenet():
    torch.manual_seed(0)
    detector = build("resnet50", image_size=32).eval()
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normalised = (pixels / 255.0 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    assert torch.allclose(detector(pixels), detector.network(normalised).squeeze(1), atol=1e-5)


def test_meso4_follows_the_keras_code():
    torch.manual_seed(0)
    network = build("meso4").network
    blocks = list(network.features)
    shapes = [tuple(block[0].weight.shape) for block in blocks]
    assert shapes == [(8, 3, 3, 3), (8, 8, 5, 5), (16, 8, 5, 5), (16, 16, 5, 5)]
    for block in blocks:
        assert [type(layer) for layer in block] == [nn.Conv2d, nn.ReLU, nn.BatchNorm2d, SamePool]
        assert (block[2].eps, block[2].momentum) == (1e-3, 0.01)
        assert torch.count_nonzero(block[0].bias) == 0
    assert len({id(block[2]) for block in blocks}) == 4  # no norm is shared
    assert [type(layer) for layer in network.head] == [
        *(nn.Flatten, nn.Dropout, nn.Linear, nn.LeakyReLU, nn.Dropout, nn.Linear)
    ]
    dense = network.head[2]
    assert dense.weight.shape == (16, 16 * 8 * 8)
    assert network.head[3].negative_slope == 0.1
    limit = math.sqrt(6 / (1024 + 16))  # Glorot uniform
    assert dense.weight.abs().max() <= limit
    assert dense.weight.std().item() == pytest.approx(limit / math.sqrt(3), rel=0.03)


def test_same_pooling_keeps_the_rest_of_a_row():
    maps = torch.arange(1.0, 8.0).neg().view(1, 1, 1, 7)
    # Keras pads 7 to 8 with one column on the right and nothing on the left; padding never wins a maximum.
    assert SamePool(2)(maps).flatten().tolist() == [-1.0, -3.0, -5.0, -7.0]


@pytest.mark.parametrize(
    "pixels",
    [
        torch.zeros(1, 3, 32, 32),
        torch.zeros(1, 3, 32, 31, dtype=torch.uint8),
        torch.zeros(1, 1, 32, 32, dtype=torch.uint8),
        torch.zeros(3, 32, 32, dtype=torch.uint8),
    ],
)
def test_wrong_pixels_are_refused(pixels):
    with pytest.raises(ValueError, match=r"meso4 takes uint8 RGB of shape \(B, 3, 32, 32\)"):
        build("meso4", image_size=32)(pixels)


def test_messages_say_what_is_allowed():
    with pytest.raises(ConfigError, match="no detector 'xception'; there are meso4, resnet101, resnet152, resnet50"):
        build("xception")
    with pytest.raises(ConfigError, match="meso4 cannot start from weights 'imagenet'; allowed: none"):
        build("meso4", "imagenet")
    with pytest.raises(ConfigError, match="image_size 16 is too small"):
        build("meso4", image_size=16)


def test_imagenet_weights_without_a_network(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens on the discard port
    with pytest.raises(ConfigError, match=r"(?s)could not be downloaded.*resnet50-0676ba61\.pth.*weights: none"):
        build("resnet50", "imagenet")


def test_imagenet_weights_that_are_not_the_ones_meant(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = tmp_path / "hub/checkpoints/resnet50-0676ba61.pth"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"half a download")
    with pytest.raises(ConfigError, match="sha256 does not begin with 0676ba61"):
        build("resnet50", "imagenet")
