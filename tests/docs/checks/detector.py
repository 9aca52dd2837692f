"""Check of docs/adding_a_detector.md, run by test_howto_pages.py in a copy of the package."""

import os
from pathlib import Path

import pytest
import torch
import yaml
from snakemake.utils import update_config

import deepfakemnist
from deepfakemnist.config.detectors import DetectorTraining
from deepfakemnist.config.load import Config
from deepfakemnist.detectors.registry import build, detector_spec
from deepfakemnist.errors import ConfigError

HERE = Path.cwd()
PAGE = Path(os.environ["HOWTO_PAGE"]).read_text(encoding="utf-8")


def quoted(error: pytest.ExceptionInfo, part: str) -> bool:
    """Whether the page quotes a part of a message, and the message has it."""
    return part in PAGE and part in str(error.value)


def test_the_copy_is_what_is_tested():
    assert Path(deepfakemnist.__file__).is_relative_to(HERE)


def test_the_registry_finds_the_detector_of_the_pages_config():
    raw: dict = {}
    for name in ("config/config.yaml", "config/presets/demo.yaml", "two_layer.yaml"):
        update_config(raw, yaml.safe_load((HERE / name).read_text(encoding="utf-8")))
    (training,) = Config.model_validate(raw).training.detectors
    detector = build(training.name, training.weights, training.image_size, training.dropout)
    logits = detector(torch.randint(0, 256, (5, *detector.sample_shape), dtype=torch.uint8))
    assert logits.shape == (5,)
    assert torch.isfinite(logits).all()
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in detector.parameters())


def test_the_messages_of_the_page():
    with pytest.raises(ValueError) as error:
        DetectorTraining(name="two_layers")
    assert quoted(error, "unknown detector; allowed are resnet50, resnet101")
    with pytest.raises(ConfigError) as error:
        detector_spec("two_layers")
    assert str(error.value).split(",")[0].replace("two_layers", "two_layer") in PAGE
    with pytest.raises(ValueError) as error:
        build("two_layer")(torch.zeros(1, 3, 128, 128))
    assert quoted(error, "two_layer takes uint8 RGB of shape (B, 3, 128, 128), not torch.float32 of shape")
    with pytest.raises(ConfigError) as error:
        build("two_layer", image_size=16)
    assert str(error.value) in PAGE
