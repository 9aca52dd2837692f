"""Plug-ins of an installed package: an animator, a detector and a liveness provider, and those that cannot be used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "tiny-plugins"
version = "0.3"
[project.entry-points."deepfakemnist.animators"]
still = "tiny_plugins.settings:StillSettings"
broken = "tiny_plugins.gone:Settings"
odd = "tiny_plugins.settings:StillSettings"
fomm = "tiny_plugins.settings:StillSettings"
[project.entry-points."deepfakemnist.detectors"]
grey = "tiny_plugins.grey:SPEC"
[project.entry-points."deepfakemnist.liveness"]
local-all = "tiny_plugins.settings:AllSettings"
paid = "tiny_plugins.settings:PaidSettings"
[tool.setuptools]
packages = ["tiny_plugins"]
"""
SETTINGS = """
from typing import ClassVar, Literal
from pydantic import Field
from deepfakemnist.config.animators.base import AnimatorSettings
from deepfakemnist.config.plugins import PluginSettings

class StillSettings(AnimatorSettings):
    module: ClassVar[str] = "tiny_plugins.still"
    may_use_gpu: ClassVar[bool] = False
    name: Literal["still"] = "still"
    noise: int = Field(0, description="levels")

class AllSettings(PluginSettings):
    module: ClassVar[str] = "tiny_plugins.all_live"
    provider: Literal["local-all"]

class PaidSettings(PluginSettings):
    module: ClassVar[str] = "tiny_plugins.all_live"
    provider: Literal["paid"]
"""
STILL = """
import numpy as np
from deepfakemnist.animate.protocol import AnimatorInfo, Motion, MotionArray

class Still:
    info = AnimatorInfo("still", "CC0", None, {"index": MotionArray((), "int64")}, "uint8", None)
    def prepare_driving(self, frames):
        return Motion({"index": np.arange(len(frames))})
    def prepare_source(self, frame):
        return frame
    def start_of(self, state, motion):
        return 0
    def mouth_from(self, state, motion):
        return "source"
    def render(self, state, motion):
        yield from (state for _ in motion["index"])

def load(settings, weights, device):
    return Still()
"""
GREY = """
from torch import nn
from deepfakemnist.detectors.base import HALF, DetectorConfig, DetectorSpec

class Grey(nn.Module):
    def __init__(self, image_size, dropout):
        super().__init__()
        self.head = nn.Linear(3, 1)
    def forward(self, images):
        return self.head(images.mean(dim=(2, 3)))

SPEC = DetectorSpec(
    DetectorConfig("grey", 32, HALF, HALF, ("none",), "test", "CC0", "", learning_rate=1e-3), Grey
)
"""
LIVE = """
from deepfakemnist.liveness.protocol import SILENT, Verdict

class AllLive:
    name, version = "local-all", "1"
    def asked_motion(self, action):
        return SILENT
    def check(self, clip, action):
        return Verdict(True, 1.0, 0.5)

def load(settings):
    return AllLive()
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which pip has installed the package, as a user would; on the path of the processes of the tests."""
    folder = tmp_path_factory.mktemp("plugins")
    package = folder / "project/tiny_plugins"
    package.mkdir(parents=True)
    (folder / "project/pyproject.toml").write_text(PROJECT)
    files = {"__init__": "", "settings": SETTINGS, "still": STILL, "grey": GREY, "all_live": LIVE}
    for name, text in files.items():
        (package / f"{name}.py").write_text(text)
    words = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    command = [sys.executable, *words, "--target", str(folder / "site"), str(folder / "project")]
    subprocess.run(command, check=True, timeout=120)
    return folder / "site"


def python(installed: Path, code: str) -> str:
    path = os.pathsep.join([str(ROOT / "src"), str(installed)])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def test_an_animator_of_another_package_is_found_validated_and_run(installed: Path) -> None:
    said = python(
        installed,
        """
import numpy as np
from deepfakemnist.animate.registry import load_animator
from deepfakemnist.config.animators.registry import animator_settings
settings = animator_settings(name="still", noise=3)
animator = load_animator(settings, None, "cpu")
frames = np.arange(48, dtype=np.uint8).reshape(4, 2, 2, 3)
motion = animator.prepare_driving(frames)
motion.check(animator.info.motion)
print(settings.named, settings.noise, len(list(animator.render(frames[0], motion))))
wrong = {"name": "still", "noise": "loud"}
for given in (wrong, {"name": "broken"}, {"name": "odd"}, {"name": "stll"}, {"name": "fomm"}):
    try:
        animator_settings(given)
    except ValueError as error:
        print(error.errors()[0]["msg"])
""",
    )
    lines = said.splitlines()
    assert lines[0] == "still 3 4"
    assert "valid integer" in lines[1]
    assert "tiny_plugins.gone:Settings of tiny-plugins 0.3 cannot be imported: ModuleNotFoundError" in lines[2]
    assert "has not the default name 'odd', the name of the entry point" in lines[3]
    assert "'stll' is an unknown animator; did you mean 'still'?" in lines[4]
    # Neither of the two is used in silence.
    assert "tiny-plugins 0.3 and deepfakemnist both provide fomm; uninstall one of the packages" in lines[5]


def test_a_detector_of_another_package_is_named_without_torch_and_built(installed: Path) -> None:
    said = python(
        installed,
        """
import sys
from deepfakemnist.config.detectors import DetectorTraining
print(DetectorTraining(name="grey").slug, "torch" in sys.modules, "tiny_plugins.grey" in sys.modules)
import torch
from deepfakemnist.detectors.registry import build
print(tuple(build("grey")(torch.zeros(2, 3, 32, 32, dtype=torch.uint8)).shape))
try:
    DetectorTraining(name="gray")
except ValueError as error:
    print(error)
""",
    )
    lines = said.splitlines()
    assert lines[:2] == ["grey False False", "(2,)"]
    assert "r2plus1d_18, grey and timm:NAME" in said


def test_a_liveness_provider_of_another_package_answers_and_a_paid_one_is_refused(installed: Path) -> None:
    said = python(
        installed,
        """
import numpy as np
from deepfakemnist.config.liveness import LivenessSettings
from deepfakemnist.liveness.protocol import Clip
from deepfakemnist.liveness.registry import build
(settings,) = LivenessSettings(providers=[{"provider": "local-all"}]).providers
print(build(settings).check(Clip(np.zeros((2, 8, 8, 3), np.uint8), 25.0, "0"), "nod").live)
try:
    LivenessSettings(providers=[{"provider": "paid"}])
except ValueError as error:
    print(error.errors()[0]["msg"])
""",
    )
    lines = said.splitlines()
    assert lines[0] == "True"
    assert "must be called local-…" in lines[1]


def test_a_change_of_any_file_of_a_plugin_changes_its_digest(installed: Path) -> None:
    digest = 'from deepfakemnist.code_digest import foreign_digest; print(foreign_digest("tiny_plugins.still"))'
    before = python(installed, digest)
    settings = installed / "tiny_plugins/settings.py"
    text = settings.read_text()
    settings.write_text(text.replace('"levels"', '"grey levels"'))
    assert python(installed, digest) != before
    settings.write_text(text)
    assert python(installed, digest) == before
