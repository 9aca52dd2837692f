"""GPU benchmark (benchmarks/gpu.py): a dry run on a CPU, with only the packages that its README lists."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
WHEELS = ROOT / "benchmarks" / "gpu" / "wheels.txt"
#: Packages of a stock image with torch, dependencies included.
STOCK = {
    "certifi", "chardet", "charset-normalizer", "cloudpickle", "cuda-bindings", "cuda-pathfinder", "cycler", "dill",
    "filelock", "fsspec", "huggingface-hub", "idna", "imageio", "iniconfig", "jinja2", "lazy-loader", "llvmlite",
    "markupsafe", "matplotlib", "mpmath", "networkx", "numba", "numpy", "opencv-python-headless", "packaging", "pandas",
    "pillow", "pluggy", "pyarrow", "pygments", "pytest", "python-dateutil", "pytz", "pyyaml", "requests", "safetensors",
    "scikit-image", "scipy", "setuptools", "six", "sympy", "tensorboard", "threadpoolctl", "tifffile", "timm", "torch",
    "torchvision", "tqdm", "triton", "typing-extensions", "tzdata", "urllib3",
}  # fmt: skip
RUN = """
import importlib.metadata, re, runpy, sys
allowed = set(sys.argv[1].split())
refused = {
    name
    for name, packages in importlib.metadata.packages_distributions().items()
    if not {re.sub(r"[-_.]+", "-", package).lower() for package in packages} & allowed
}

class Stock:
    def __init__(self, finders):
        self.finders = finders

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in refused:
            return None
        return next((spec for finder in self.finders if (spec := finder.find_spec(name, path, target))), None)

sys.meta_path[:] = [Stock(list(sys.meta_path))]
sys.argv = sys.argv[2:]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def pinned(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==([^\s;\\]+)", path.read_text(), re.MULTILINE))


@pytest.mark.extended
def test_the_benchmark_runs_with_a_stock_image_and_the_wheels(tmp_path):
    script, out = str(ROOT / "benchmarks" / "gpu.py"), str(tmp_path)
    packages = " ".join({*STOCK, *pinned(WHEELS), "deepfakemnist"})
    options = ["--dry-run", "--out", out, "--parts", "card", "shard", "training"]
    done = subprocess.run(
        [sys.executable, "-c", RUN, packages, script, *options],
        cwd=ROOT,
        # Without an ffmpeg program, too.
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "PATH": "", "IMAGEIO_FFMPEG_EXE": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    result = json.loads((tmp_path / "gpu.json").read_text())
    assert result["failed"] == {}
    (shard,) = result["shard"].values()
    assert shard["clips"] == 2
    assert result["training"]["float32"]["loss_last"] < result["training"]["float32"]["loss_first"]


def test_a_missing_gpu_is_reported():
    script = str(ROOT / "benchmarks" / "gpu.py")
    done = subprocess.run(
        [sys.executable, script],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1
    assert "torch sees no GPU here" in done.stderr


def test_the_wheels_have_the_versions_of_the_lock_file():
    lock, wheels = pinned(ROOT / "requirements.lock"), pinned(WHEELS)
    assert len(wheels) == 7
    assert wheels == {name: lock[name] for name in wheels}
