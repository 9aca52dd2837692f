"""Check of docs/adding_an_animator.md, run by test_howto_pages.py in a copy of the package, its plug-in installed."""

import os
from pathlib import Path

import numpy as np
import pytest
import yaml
from skimage import data
from snakemake.utils import update_config

import deepfakemnist
from deepfakemnist.animate.protocol import Motion
from deepfakemnist.animate.registry import load_animator
from deepfakemnist.config.animators.registry import animator_settings
from deepfakemnist.config.load import Config, load_config
from deepfakemnist.errors import ConfigError, Failed

HERE = Path.cwd()
PAGE = Path(os.environ["HOWTO_PAGE"]).read_text(encoding="utf-8")


def merged() -> dict:
    raw: dict = {}
    for name in ("config/config.yaml", "config/presets/demo.yaml", "shift.yaml"):
        update_config(raw, yaml.safe_load((HERE / name).read_text(encoding="utf-8")))
    return raw


def test_the_copy_is_what_is_tested():
    assert Path(deepfakemnist.__file__).is_relative_to(HERE)


def test_the_config_of_the_page_renders_a_clip():
    mesh, shift = Config.model_validate(merged()).animators
    assert (mesh.name, shift.name, shift.strength) == ("mesh", "shift", 1.5)
    animator = load_animator(shift, shift.weight_file)
    face = np.ascontiguousarray(data.astronaut()[0:256, 96:352])
    motion = animator.prepare_driving(np.stack([np.roll(face, shift, axis=1) for shift in (0, 3, 6, 9)]))
    motion.check(animator.info.motion)
    frames = list(animator.render(animator.prepare_source(face[::2, ::2]), motion))
    assert [(frame.shape, frame.dtype) for frame in frames] == [((128, 128, 3), np.uint8)] * 4


def test_the_messages_of_the_page():
    with pytest.raises(ValueError) as error:
        animator_settings(name="shfit")
    message = error.value.errors()[0]["msg"].removeprefix("Value error, name: ")
    assert message.split(" liveportrait")[0] in PAGE
    shift = load_animator(animator_settings(name="shift"), None)
    with pytest.raises(Failed) as failed:
        Motion({"centre": np.zeros((3, 2))}).check(shift.info.motion)
    assert failed.value.detail.split(":")[0] in PAGE
    raw = merged()
    raw["animators"][1]["wobble"] = 1
    with pytest.raises(ConfigError) as refused:
        load_config(raw)
    assert str(refused.value).splitlines()[1].strip().split(" Allowed")[0] in PAGE
