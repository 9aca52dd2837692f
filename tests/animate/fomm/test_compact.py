"""Shipped weights, compact-256 and small-256, against their model cards, on people not seen in training."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from deepfakemnist.actors import Actor, Framing, Pose, load_bank
from deepfakemnist.animate.fomm.animator import FommAnimator
from deepfakemnist.animate.fomm.checkpoint import load_checkpoint, save_checkpoint
from deepfakemnist.animation_quality.motion import measure_action
from deepfakemnist.faces.landmarks import FaceLandmarker

pytestmark = [pytest.mark.slow, pytest.mark.numeric]

ROOT = Path(__file__).parents[3]
CARD = ROOT / "resources" / "animators" / "README.md"
WEIGHTS, SMALL = (CARD.with_name(f"{name}-256.safetensors") for name in ("compact", "small"))
#: Heads that config/actors/training.yaml leaves out.
SOURCES, DRIVERS = (57, 61, 66, 59, 68), (70, 58, 63, 71, 60)
CLOSE = Framing(eyes_y=0.44, head=0.75)


def both(name: str, weight: float) -> dict[str, float]:
    return {f"{name}{side}": weight for side in ("Left", "Right")}


#: Signal of ``measure_action`` → pose and expression that show it.
SHOWN: dict[str, tuple[Pose, dict[str, float]]] = {
    "rest": (Pose(), {}),
    "blink": (Pose(), both("eyeBlink", 1.0)),
    "jaw": (Pose(), {"jawOpen": 0.7}),
    "smile": (Pose(), both("mouthSmile", 0.9)),
    "yaw": (Pose(yaw=15), {}),
    "pitch": (Pose(pitch=12), {}),
    "roll": (Pose(roll=15), {}),
}


@pytest.fixture(scope="module")
def shares() -> dict[str, float]:
    """Of compact-256."""
    return measured_shares(WEIGHTS)


def measured_shares(weights: Path, people: int = len(SOURCES)) -> dict[str, float]:
    """Median over people of the ratio of each signal's change in the animation to its change in the ground truth.

    Landmarks respond differently to a rendered smile or lid on each face, so the reference is the rendered ground truth
    rather than the commanded value.
    """
    bank, landmarker = load_bank(), FaceLandmarker()
    animator = FommAnimator(load_checkpoint(weights), device="cpu")
    found: dict[str, list[float]] = {name: [] for name in SHOWN if name != "rest"}
    for source, driver in zip(SOURCES[:people], DRIVERS[:people], strict=True):
        truth, driving = (
            np.stack([person.render(pose, actions, framing=CLOSE) for pose, actions in SHOWN.values()])
            for person in (Actor(bank, source, source), Actor(bank, driver, driver))
        )
        motion = animator.prepare_driving(driving)
        result = np.stack(list(animator.render(animator.prepare_source(truth[0]), motion)))
        true, shown = (measure_action([landmarker(frame) for frame in clip]) for clip in (truth, result))
        for index, name in enumerate(SHOWN):
            if name != "rest":
                found[name].append((shown[name][index] - shown[name][0]) / (true[name][index] - true[name][0]))
    return {name: float(np.median(values)) for name, values in found.items()}


@pytest.mark.parametrize("name", ["jaw", "yaw", "pitch", "roll"])
def test_large_motions_transfer_to_unseen_people(shares, name):
    assert shares[name] >= 0.5, shares


@pytest.mark.parametrize("name", ["blink", "smile"])
def test_blinks_and_smiles_transfer_to_unseen_people(shares, name):
    assert shares[name] >= 0.3, shares


def test_the_larger_one_transfers_every_motion_to_an_unseen_person():
    shares = measured_shares(SMALL, people=1)
    assert min(shares.values()) >= 0.5, shares


def test_it_is_small_enough_for_a_demo(tmp_path):
    networks = load_checkpoint(WEIGHTS)
    image = torch.zeros(1, 3, 256, 256)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        found = networks.kp_detector(image)
        networks.generator(image, found, found)
    assert counter.get_total_flops() <= 8e9
    save_checkpoint(tmp_path / "half.safetensors", networks, {}, half=True)
    assert (tmp_path / "half.safetensors").stat().st_size <= 12e6


def test_demo_presets_and_model_card_reference_these_weights():
    sha256 = hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
    for preset in ("demo", "demo_large"):
        animator = yaml.safe_load((ROOT / "config" / "presets" / f"{preset}.yaml").read_text())["animator"]
        assert ROOT / animator["weights"] == WEIGHTS
        assert animator["weights_sha256"] == sha256
    assert sha256 in CARD.read_text()


def test_the_larger_ones_card_states_its_file():
    content = SMALL.read_bytes()
    assert hashlib.sha256(content).hexdigest() in CARD.read_text()
    assert f"{len(content):,} bytes" in CARD.read_text()
