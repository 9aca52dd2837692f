"""Small-animator training (benchmarks/gpu/train_small_animator.py) at a size that a CPU trains in seconds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from deepfakemnist.actors import Actor, Framing, Pose, load_bank
from deepfakemnist.actors.rendered_points import rendered_points
from deepfakemnist.animate.fomm.animator import FommAnimator
from deepfakemnist.animate.fomm.checkpoint import read_facts
from deepfakemnist.animate.training.pairs import aperture_ratios
from deepfakemnist.config.animators.registry import animator_settings
from deepfakemnist.faces.facial_points import FACIAL_POINTS, MIRRORED

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parents[2] / "benchmarks" / "gpu"
SMALL = {
    "block_expansion": 8, "max_features": 16, "num_blocks": 2, "scale_factor": 0.5, "head_kernel": 3,
}  # fmt: skip
SETTINGS = {
    "seed": 3,
    "animator": {
        "model": {
            "num_kp": 21,
            "keypoints": SMALL,
            "generator": {
                "block_expansion": 8,
                "max_features": 16,
                "num_bottleneck_blocks": 1,
                "full_resolution_skip": True,
                "dense_motion": {**SMALL, "keypoint_prior": 2.0, "upsampling": 2},
            },
        },
        "train": {
            "batch_size": 2, "size": 32, "learning_rate": 0.002, "ema": 0.9, "landmarks": 50, "disturb_keypoints": 0.4,
            "face_detail": 6, "eye_detail": 25, "keep_source": 2, "far_pairs": 0.2, "aperture_pairs": 0.4,
        },
    },
    "schedule": {"detector_alone": 0.3, "generator_alone": 0.3, "warm_up_steps": 5},
    "rendering": {"heads": 56, "pictures": 4, "size": 40, "looks_kept": 3, "held_out_looks": 1, "least_looks": 1,
                  "shown": ["blink"]},
}  # fmt: skip
#: Packages of pyproject.toml that a GPU machine has; their dependencies are added by RUNNER.
INSTALLED = (
    "av",
    "filelock",
    "numba",
    "numpy",
    "opencv-python-headless",
    "pandas",
    "pillow",
    "pyarrow",
    "pydantic",
    "pyyaml",
    "safetensors",
    "scikit-image",
    "scipy",
    "torch",
    "torchvision",
)
#: Runs a script with all other packages blocked.
RUNNER = """
import importlib.metadata, re, runpy, sys
known, left = set(), sys.argv[1].split(",")
while left:
    name = re.sub("[-_.]+", "-", left.pop()).lower()
    if name not in known:
        known.add(name)
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        left += [re.match("[A-Za-z0-9._-]+", need)[0] for need in needs if "extra ==" not in need]
by_module = importlib.metadata.packages_distributions()
refused = {
    module for module, names in by_module.items()
    if not any(re.sub("[-_.]+", "-", name).lower() in known | {"deepfakemnist"} for name in names)
}
assert {"ai_edge_litert", "snakemake", "requests", "timm"} <= refused
class Installed:
    def __init__(self, finders):
        self.finders = finders
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in refused:
            return next((spec for finder in self.finders if (spec := finder.find_spec(name, path, target))), None)
sys.meta_path[:] = [Installed(list(sys.meta_path))]
sys.argv = sys.argv[2:]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def script_folder(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))


def start_training(folder: Path, *more: str, block_packages: bool = False) -> subprocess.Popen[str]:
    settings = folder / "settings.yaml"
    settings.write_text(yaml.safe_dump(SETTINGS))
    runner = ("-c", RUNNER, ",".join(INSTALLED)) if block_packages else ()
    script = str(FOLDER / "train_small_animator.py")
    options = ["--device", "cpu", "--workers", "1", "--minutes", "0.1", "--save-every", "0.2", "--log-every", "1"]
    outputs = ["--out", str(folder / "out"), "--settings", str(settings)]
    command = [sys.executable, *runner, script, *options, *outputs, *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    for _ in range(600):
        if path.exists():
            return
        if process.poll() is not None:
            break
        time.sleep(0.1)
    process.kill()
    pytest.fail(f"{path.name} was not written: {process.communicate()[0]}")


def test_a_killed_training_resumes_and_its_weights_animate(tmp_path):
    record, out = tmp_path / "out" / "training.json", tmp_path / "out"
    killed = start_training(tmp_path)
    wait_for(record, killed)
    killed.kill()
    killed.communicate()
    steps_before = json.loads(record.read_text())["steps"]
    assert steps_before > 0

    resumed = start_training(tmp_path, block_packages=True)
    printed = resumed.communicate(timeout=120)[0]
    assert resumed.returncode == 0, printed
    assert "resuming at step" in printed
    kept = json.loads(record.read_text())
    assert kept["steps"] > steps_before
    assert [set(call) > {"steps", "looks", "workers"} for call in kept["calls"]] == [True, True]
    steps = [entry["step"] for entry in kept["losses"]]
    assert steps == sorted(set(steps))
    # All phases ran: the detector alone has no reconstruction loss, the generator alone no landmark loss.
    first, last = kept["losses"][0], kept["losses"][-1]
    assert first["landmarks"] > 0 and first["reconstruction"] == 0
    assert last["landmarks"] == 0 and last["reconstruction"] > 0
    assert any(entry["landmarks"] and entry["reconstruction"] for entry in kept["losses"])
    assert kept["held_out_l1"] < 0.5 and kept["device"] == "cpu"

    checkpoint = out / "checkpoint.safetensors"
    assert sorted(path.name for path in out.iterdir()) == [
        "checkpoint.safetensors",
        "samples.png",
        "train.log",
        "training.json",
        "transfer.png",
    ]
    assert kept["bytes"] == checkpoint.stat().st_size
    assert read_facts(checkpoint)["steps"] == kept["steps"]
    animator = FommAnimator.from_checkpoint(checkpoint, animator_settings(name="fomm"), device="cpu")
    clip = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    frames = list(animator.render(animator.prepare_source(clip[0]), animator.prepare_driving(clip)))
    assert [frame.shape for frame in frames] == [(32, 32, 3)] * 3


def test_a_stopped_training_keeps_its_state_and_weights(tmp_path):
    stopped = start_training(tmp_path, "--minutes", "5")
    wait_for(tmp_path / "out" / "training.json", stopped)
    stopped.send_signal(signal.SIGTERM)
    printed = stopped.communicate(timeout=60)[0]
    assert stopped.returncode == 128 + signal.SIGTERM, printed
    kept = json.loads((tmp_path / "out" / "training.json").read_text())
    assert read_facts(tmp_path / "out" / "checkpoint.safetensors")["steps"] == kept["steps"]
    assert (tmp_path / "out.work" / "state.pt").exists()


def test_the_committed_settings_are_valid_and_the_weights_fit(script_folder):
    import small_animator_results as results
    import small_animator_settings as script

    from deepfakemnist.animate.fomm.network import FirstOrderMotionModel

    settings = script.read_settings(FOLDER / "small_animator.yaml", ["animator.train.adversarial=0.5"])
    assert settings.animator.train.adversarial == 0.5
    networks = FirstOrderMotionModel(settings.animator.model)
    assert 2 * sum(parameter.numel() for parameter in networks.parameters()) < 14e6
    assert 12e9 < results.flops(networks.eval(), 256) < 20e9


def test_rendered_points_lie_on_the_face():
    actor, framing = Actor(load_bank(), 4, 5), Framing(256, 256, 0.5, 0.44, 0.75)
    index = {name: i for i, (name, _) in enumerate(FACIAL_POINTS)}

    def points(**actions):
        return rendered_points(actor, Pose(), actions, (0.0, 0.0), framing)

    rest = points()
    known = actor.landmarks(framing=framing).points
    np.testing.assert_allclose(rest[index["nose tip"]], known["nose_tip"])
    # Mirrored points are equally far from the midline, within the asymmetry of real faces.
    middle = rest[index["nose tip"], 0]
    np.testing.assert_allclose(rest[:, 0] - middle, middle - rest[MIRRORED, 0], atol=6)
    # An iris point lies on the pupil, the darkest pixels nearby.
    large = Framing(512, 512, framing.eyes_x, framing.eyes_y, framing.head)
    for gaze in ((0.0, 0.0), (15.0, 0.0)):
        x, y = rendered_points(actor, Pose(), {}, gaze, large)[index["left iris"]].round().astype(int)
        eye = actor.render(Pose(), {}, gaze, large)[y - 13 : y + 14, x - 30 : x + 31].mean(-1)
        rows, columns = np.nonzero(eye < np.quantile(eye, 0.03))
        np.testing.assert_allclose([columns.mean() - 30, rows.mean() - 13], 0, atol=2)
    opened = [
        aperture_ratios(torch.from_numpy(found)).numpy()
        for found in (rest, points(eyeBlinkLeft=1.0, eyeBlinkRight=1.0))
    ]
    assert opened[1][:2].max() < 0.3 * opened[0][:2].min()


def test_both_images_of_a_pair_get_the_same_change_except_noise(script_folder, monkeypatch):
    import domain_randomisation

    monkeypatch.setattr(domain_randomisation, "_NOISE_SIGMA", 0.0)
    random = torch.Generator().manual_seed(0)
    image = torch.rand(8, 1, 3, 40, 40, generator=random)
    alpha = (torch.rand(8, 1, 1, 40, 40, generator=random) > 0.5).float()
    points = 2 * torch.rand(8, 1, len(FACIAL_POINTS), 2, generator=random) - 1
    room, other = torch.rand(2, 8, 3, 40, 40, generator=random)
    pairs = (part.expand(-1, 2, *part.shape[2:]) for part in (image, alpha, points))
    images, moved = domain_randomisation.randomise_pairs(*pairs, room, other, 32, random)
    assert images.shape == (8, 2, 3, 32, 32) and images.min() >= 0 and images.max() <= 1
    torch.testing.assert_close(moved[:, 0], moved[:, 1])
    torch.testing.assert_close(images[:, 0], images[:, 1])
    assert (images[:, 0] - images[:, 0].roll(1, 0)).abs().mean() > 0.1


def test_points_move_with_the_crop(script_folder):
    from domain_randomisation import Crops, crop_pairs

    # A bright dot at a different position in each image, and its point.
    dots = torch.tensor([[20, 44], [40, 22]])
    images = torch.zeros(1, 2, 1, 64, 64)
    for i, (x, y) in enumerate(dots.tolist()):
        images[0, i, 0, y - 1 : y + 2, x - 1 : x + 2] = 1
    points = (2 * dots / 63 - 1)[None, :, None].expand(1, 2, len(FACIAL_POINTS), 2)
    rotated = Crops(torch.tensor([[[-0.8, -0.1], [-0.1, 0.8]]]), torch.tensor([[0.1, -0.05]]), torch.tensor([True]))
    cropped, moved = crop_pairs(images, points, rotated, 64)
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    for i in range(2):
        seen = cropped[0, i, 0]
        centre = torch.stack([(seen * x).sum(), (seen * y).sum()]) / seen.sum()
        torch.testing.assert_close((moved[0, i, 0] + 1) / 2 * 63, centre, atol=0.3, rtol=0)


def test_compression_error_grows_with_the_quantisation_step(script_folder):
    from domain_randomisation import simulate_compression

    image = torch.linspace(0, 1, 32).expand(1, 2, 3, 32, 32)
    step = torch.ones(1, 1, 1, 1, 1, 1, 1)
    errors = [(simulate_compression(image, size * step) - image).abs().max().item() for size in (1e-5, 0.3)]
    assert errors[0] < 1e-3 < errors[1]
