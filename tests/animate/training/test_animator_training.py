"""Animator training end to end: determinism, resuming, held-out people, reports, refused settings."""

from __future__ import annotations

import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from deepfakemnist.animate.fomm.checkpoint import load_checkpoint, read_facts
from deepfakemnist.animate.fomm.network import Keypoints
from deepfakemnist.animate.training.equivariance import RandomDeformation
from deepfakemnist.animate.training.loop import STATE, train_animator
from deepfakemnist.animate.training.pairs import TrainingClip
from deepfakemnist.config.animators.fomm import DiscriminatorModel, TrainAnimatorSettings
from deepfakemnist.config.base import WeightFile
from deepfakemnist.errors import ConfigError
from deepfakemnist.faces.facial_points import FACIAL_POINTS
from deepfakemnist.media.encode import write_working_clip

pytestmark = pytest.mark.slow

QUICK = TrainAnimatorSettings(steps=3, batch_size=2, size=32, frames_per_clip=8, samples_every=1000)
#: Every option that uses random numbers or an optimiser.
FULL = QUICK.model_copy(
    update={
        "steps": 12,
        "checkpoint_every": 4,
        "ema": 0.9,
        "far_pairs": 0.5,
        "sampling": "person",
        "landmarks": 20.0,
        "face_detail": 2.0,
        "eye_detail": 1.0,
        "keep_source": 0.5,
        "aperture_pairs": 0.2,
        "adversarial": 1.0,
        "discriminator": DiscriminatorModel(block_expansion=4, max_features=8, num_blocks=2),
    }
)


@pytest.fixture
def clips(moving_discs):
    """One clip per person."""
    return [TrainingClip(frames, f"person{i}") for i, frames in enumerate(moving_discs)]


def with_points(clip: TrainingClip) -> TrainingClip:
    """Set every facial point to the centre of the disc, located by its brightness."""
    grey = clip.frames.astype(float).mean(-1)
    weights = np.clip(grey - grey.min(axis=(1, 2), keepdims=True) - 20, 0, None)
    y, x = np.mgrid[:32, :32]
    total = weights.sum((1, 2))
    middle = np.stack([(weights * x).sum((1, 2)) / total, (weights * y).sum((1, 2)) / total], -1)
    return replace(clip, points=np.repeat(middle[:, None], len(FACIAL_POINTS), axis=1).astype(np.float32))


def train(clips, folder: Path, model, settings=QUICK, seed=0, **more):
    path = folder / "weights.pth"
    report = train_animator(clips, path, folder / "work", model, settings, True, seed=seed, device="cpu", **more)
    networks = load_checkpoint(path, model)
    return report, torch.cat([value.flatten().double() for value in networks.state_dict().values()]).numpy()


def test_the_same_seed_gives_the_same_weights(tmp_path, small_model, clips):
    torch.manual_seed(1)
    first_report, first = train(clips, tmp_path / "first", small_model)
    torch.rand(5)  # the global random state must not matter
    again_report, again = train(clips, tmp_path / "again", small_model)
    np.testing.assert_array_equal(first, again)
    assert first_report.losses == again_report.losses
    assert first_report.held_out_l1 == again_report.held_out_l1
    _, other = train(clips, tmp_path / "other", small_model, seed=1)
    assert not np.array_equal(first, other)


def test_training_does_not_touch_the_global_random_state(tmp_path, small_model, clips):
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    train(clips, tmp_path, small_model)
    np.testing.assert_array_equal(torch.rand(3), wanted)


def test_files_and_arrays_give_the_same_weights(tmp_path, small_model, clips):
    from_files = []
    for i, clip in enumerate(clips[:3]):
        write_working_clip(tmp_path / f"{i}.mp4", clip.frames, 25.0)
        from_files.append(replace(clip, frames=tmp_path / f"{i}.mp4"))
    _, files = train(from_files, tmp_path / "files", small_model)
    _, arrays = train(clips[:3], tmp_path / "arrays", small_model)
    np.testing.assert_array_equal(files, arrays)


def test_it_learns_to_animate_an_unseen_clip(tmp_path, small_model, clips, caplog):
    settings = QUICK.model_copy(update={"steps": 150, "batch_size": 4, "learning_rate": 2e-3})
    with caplog.at_level(logging.INFO):
        report, _ = train(clips, tmp_path, small_model, settings)
    assert (report.clips, report.people, report.held_out_clips, report.held_out_people) == (5, 5, 1, 1)
    assert (report.device, report.steps) == ("cpu", 150)
    assert report.held_out_l1 < 0.7 * report.copy_l1
    assert [entry.step for entry in report.losses] == [1, 50, 100, 150]
    assert report.losses[-1].reconstruction < 0.5 * report.losses[0].reconstruction
    assert "multi-scale L1 and image gradients (no VGG19" in report.reconstruction
    assert report.reconstruction in caplog.text
    assert "step 100/150: loss" in caplog.text
    assert "s left" in caplog.text


def test_keypoints_learn_the_positions_of_facial_points(tmp_path, small_model, clips):
    settings = QUICK.model_copy(update={"steps": 80, "batch_size": 4, "learning_rate": 2e-3})
    annotated = [with_points(clip) for clip in clips]
    supervised, _ = train(
        annotated, tmp_path / "supervised", small_model, settings.model_copy(update={"landmarks": 50.0})
    )
    free, _ = train(annotated, tmp_path / "free", small_model, QUICK)
    assert supervised.held_out_landmark_error < 0.05
    assert free.held_out_landmark_error is None
    assert supervised.losses[-1].landmarks < 0.5 * supervised.losses[0].landmarks
    assert free.losses[-1].landmarks == 0


def test_the_first_steps_can_train_only_the_keypoint_detector(tmp_path, small_model, clips):
    """It learns the centres of the discs before anything is animated."""
    settings = QUICK.model_copy(
        update={"steps": 51, "batch_size": 4, "learning_rate": 2e-3, "landmarks": 50.0, "landmark_steps": 50}
    )
    report, _ = train([with_points(clip) for clip in clips], tmp_path, small_model, settings)
    assert [entry.reconstruction > 0 for entry in report.losses] == [False, False, True]  # steps 1, 50, 51
    assert report.losses[1].landmarks < 0.5 * report.losses[0].landmarks


def test_the_held_out_split_is_person_disjoint(tmp_path, small_model, clips):
    two_each = [replace(clip, person=f"person{i // 2}") for i, clip in enumerate(clips)]
    report, _ = train(two_each, tmp_path / "people", small_model)
    assert (report.clips, report.people, report.held_out_clips, report.held_out_people) == (4, 2, 2, 1)
    one = [replace(clip, person="only") for clip in clips]
    report, _ = train(one, tmp_path / "one", small_model)
    assert (report.clips, report.people, report.held_out_clips, report.held_out_people) == (5, 1, 1, 1)


def test_copy_l1_is_the_plain_difference_of_frames(tmp_path, small_model):
    """Two frames per clip that differ by 51 levels: copying is off by 51/255 for every pair."""
    frames = np.stack([np.full((32, 32, 3), level, np.uint8) for level in (100, 151)])
    report, _ = train([TrainingClip(frames, "a"), TrainingClip(frames, "b")], tmp_path, small_model)
    assert report.copy_l1 == pytest.approx(0.2, abs=1e-6)


def test_the_report_is_json_and_its_facts_are_stored_with_the_weights(tmp_path, small_model, clips):
    report, _ = train(clips, tmp_path, small_model, seed=4)
    report.save(tmp_path / "report.json")
    content = json.loads((tmp_path / "report.json").read_text())
    assert content["steps"] == 3
    assert content["held_out_l1"] == report.held_out_l1
    assert content["losses"][0]["step"] == 1
    facts = read_facts(tmp_path / "weights.pth")
    assert (facts["steps"], facts["seed"], facts["held_out_l1"]) == (3, 4, report.held_out_l1)
    assert "seconds" not in facts


def test_equal_trainings_give_equal_files(tmp_path, small_model, clips):
    for name in ("a", "b"):
        path = tmp_path / name / "weights.safetensors"
        train_animator(clips, path, tmp_path / name, small_model, QUICK, True, seed=0, device="cpu")
    first, second = (tmp_path / name / "weights.safetensors" for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


def test_clips_of_another_size_are_resized(tmp_path, small_model, clips):
    larger = [replace(clip, frames=clip.frames.repeat(2, axis=1).repeat(2, axis=2)) for clip in clips]
    report, _ = train(larger, tmp_path / "larger", small_model)
    same_size, _ = train(clips, tmp_path / "same", small_model)
    assert report.copy_l1 == pytest.approx(same_size.copy_l1, rel=0.1)


def test_averaged_weights_lag_behind_the_last_ones(tmp_path, small_model, clips):
    """With a decay of 0.9, the average after 12 steps lies between the first and the last weights."""
    settings = QUICK.model_copy(update={"steps": 12})
    _, one = train(clips, tmp_path / "one", small_model, settings.model_copy(update={"steps": 1}))
    _, last = train(clips, tmp_path / "last", small_model, settings)
    _, mean = train(clips, tmp_path / "mean", small_model, settings.model_copy(update={"ema": 0.9}))
    assert 0 < np.abs(mean - one).sum() < np.abs(last - one).sum()


def test_training_writes_sample_sheets_and_curves(tmp_path, small_model, clips):
    train(clips, tmp_path, small_model, QUICK.model_copy(update={"samples_every": 2}))
    sheets = sorted((tmp_path / "work" / "samples").glob("*.png"))
    assert [sheet.name for sheet in sheets] == [
        f"{name}_000000{step}.png" for name in ("held_out", "training") for step in (2, 3)
    ]
    sheet = cv2.imread(str(sheets[0]))
    assert sheet.shape == (6 * 32, 5 * 32, 3)
    assert sheet[:, :32].std() > 5  # sources
    assert sheet[:, 96:128].mean() > 200  # an untrained model copies nearly everything from the source
    assert list((tmp_path / "work" / "tensorboard").glob("events.out.tfevents.*"))


KILLED = """
import sys, pickle
from pathlib import Path
from deepfakemnist.animate.training.loop import train_animator
import torch
torch.set_num_threads(1)
clips, folder, model, settings = pickle.loads(Path(sys.argv[1]).read_bytes())
train_animator(clips, folder / "weights.pth", folder / "work", model, settings, True, seed=0, device="cpu", log_every=1)
"""


def test_a_killed_training_resumes_bit_for_bit(tmp_path, small_model, clips, caplog):
    """kill -9 between two states; losses and weights equal those of an uninterrupted run to the last bit."""
    annotated = [with_points(clip) for clip in clips]
    uninterrupted = train_animator(
        annotated, tmp_path / "w.pth", tmp_path / "uninterrupted", small_model, FULL, True, 0, "cpu", log_every=1
    )
    folder = tmp_path / "killed"
    (tmp_path / "arguments").write_bytes(pickle.dumps((annotated, folder, small_model, FULL)))
    state = folder / "work" / STATE
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "arguments")])
    while not state.exists():
        assert process.poll() is None, "the process ended before it wrote a state"
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (folder / "weights.pth").exists()
    with caplog.at_level(logging.INFO):
        resumed = train_animator(
            annotated, folder / "weights.pth", folder / "work", small_model, FULL, True, 0, "cpu", log_every=1
        )
    assert "resuming at step 4 from" in caplog.text or "resuming at step 8 from" in caplog.text
    assert [asdict(entry) for entry in resumed.losses] == [asdict(entry) for entry in uninterrupted.losses]
    assert resumed.held_out_l1 == uninterrupted.held_out_l1
    first, second = load_checkpoint(tmp_path / "w.pth"), load_checkpoint(folder / "weights.pth")
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"steps": 4}, "train.steps was 3, is 4"),
        ({"learning_rate": 1e-3}, "train.learning_rate was 0.0004, is 0.001"),
    ],
)
def test_the_state_of_another_training_is_not_resumed(tmp_path, small_model, clips, caplog, change, why):
    train(clips, tmp_path, small_model)
    changed = QUICK.model_copy(update=change)
    report, mixed = train(clips, tmp_path, small_model, changed, log_every=1)
    assert "starting from scratch" in caplog.text
    assert why in caplog.text
    assert report.losses[0].step == 1
    _, clean = train(clips, tmp_path / "clean", small_model, changed)
    np.testing.assert_array_equal(mixed, clean)


def test_other_clips_and_a_truncated_state_start_from_scratch(tmp_path, small_model, clips, caplog):
    train(clips, tmp_path, small_model)
    train(clips[:5], tmp_path, small_model)
    assert "clips was" in caplog.text
    (tmp_path / "work" / STATE).write_bytes((tmp_path / "work" / STATE).read_bytes()[:1000])
    train(clips[:5], tmp_path, small_model)
    assert "is unreadable" in caplog.text


def test_a_training_stopped_early_resumes_its_schedule(tmp_path, small_model, clips):
    """The learning rate depends on the planned steps, so stopping and resuming equals not stopping."""
    settings = QUICK.model_copy(update={"steps": 6})
    whole_report, whole = train(clips, tmp_path / "whole", small_model, settings)
    early_report, early = train(clips, tmp_path / "parts", small_model, settings.model_copy(update={"stop_after": 4}))
    assert (early_report.steps, whole_report.steps) == (4, 6)
    assert read_facts(tmp_path / "parts" / "weights.pth")["steps"] == 4
    _, resumed = train(clips, tmp_path / "parts", small_model, settings)
    np.testing.assert_array_equal(resumed, whole)
    assert not np.array_equal(early, whole)


def test_a_finished_training_is_not_repeated(tmp_path, small_model, clips, caplog):
    _, first = train(clips, tmp_path, small_model)
    with caplog.at_level(logging.INFO):
        report, second = train(clips, tmp_path, small_model)
    assert "resuming at step 3" in caplog.text
    assert [entry.step for entry in report.losses] == [1, 3]
    np.testing.assert_array_equal(first, second)


def parts(path: Path) -> dict[str, dict[str, torch.Tensor]]:
    networks = load_checkpoint(path)
    return {"keypoints": networks.kp_detector.state_dict(), "generator": networks.generator.state_dict()}


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_a_training_can_start_from_weights_with_a_frozen_keypoint_detector(tmp_path, small_model, clips, caplog):
    """The detector stays bit-identical, its batch norms included; resuming equals an uninterrupted run."""
    train(clips, tmp_path / "first", small_model)
    settings = QUICK.model_copy(
        update={"start_from": tmp_path / "first" / "weights.pth", "train_keypoints": False, "ema": 0.5}
    )
    report, whole = train(clips, tmp_path / "second", small_model, settings)
    before, after = (parts(tmp_path / name / "weights.pth") for name in ("first", "second"))
    assert equal(before["keypoints"], after["keypoints"])
    assert not equal(before["generator"], after["generator"])
    assert report.losses[-1].equivariance_value == 0
    assert report.losses[-1].reconstruction > 0

    stopped = settings.model_copy(update={"stop_after": 2})
    train(clips, tmp_path / "parts", small_model, stopped)
    _, resumed = train(clips, tmp_path / "parts", small_model, settings)
    np.testing.assert_array_equal(resumed, whole)

    train(clips, tmp_path / "first", small_model, seed=3)  # other weights under the same name
    train(clips, tmp_path / "second", small_model, settings)
    assert "train.start_from was" in caplog.text


def test_initial_weights_must_match_the_architecture(tmp_path, small_model, tiny_checkpoint, clips):
    with pytest.raises(ConfigError, match="num_kp"):
        train(clips, tmp_path, small_model, QUICK.model_copy(update={"start_from": tiny_checkpoint}))


def test_keep_source_favours_copying_over_inpainting(tmp_path, small_model, clips):
    """It keeps the occlusion maps closer to 1 while the model learns to inpaint."""
    settings = QUICK.model_copy(update={"steps": 40, "learning_rate": 2e-3})
    shown = {}
    for weight in (0.0, 20.0):
        folder = tmp_path / str(weight)
        train(clips, folder, small_model, settings.model_copy(update={"keep_source": weight}))
        networks = load_checkpoint(folder / "weights.pth", small_model)
        images = torch.from_numpy(clips[0].frames[:6]).permute(0, 3, 1, 2).float() / 255
        with torch.inference_mode():
            found = networks.kp_detector(images)
            source, driving = ([part[i : i + 3] for part in found] for i in (0, 3))
            encoded = networks.generator.encode(images[:3])
            motion = networks.generator.motion(encoded, Keypoints(*source), Keypoints(*driving))
        shown[weight] = motion.occlusion.mean().item()
    assert 1 - shown[20.0] < 0.5 * (1 - shown[0.0])


@pytest.mark.parametrize(
    ("count", "change", "message"),
    [
        (3, {"train_keypoints": False}, "train_keypoints: false needs weights in start_from"),
        (1, {}, "at least 2 usable clips, one of them held out; there are 1"),
        (3, {"size": 36}, r"train\.size is 36; this architecture supports sizes from 16 in multiples of 8"),
        (3, {"size": 32, "adversarial": 1.0}, r"train\.size is 32; this architecture supports sizes from 64"),
        (3, {"landmark_steps": 2}, "landmark_steps is 2; it needs landmarks above 0"),
        (3, {"landmark_steps": 3, "landmarks": 1.0}, "must be less than the 3 steps"),
        (3, {"vgg19": WeightFile(path=Path("vgg19.pth"), sha256="0" * 64)}, r"train\.size is 32.* sizes from 128"),
        (3, {"frames_per_clip": 1}, "frames_per_clip is 1; a pair needs at least 2"),
    ],
)
def test_impossible_settings_are_refused(tmp_path, small_model, clips, count, change, message):
    settings = QUICK.model_copy(update=change)
    with pytest.raises(ConfigError, match=message):
        train(clips[:count], tmp_path, small_model, settings)
    assert not (tmp_path / "weights.pth").exists()


def test_unusable_clips_are_refused(tmp_path, small_model, clips):
    short = TrainingClip(clips[1].frames[:1], "b")
    with pytest.raises(ConfigError, match=r"\(1, 32, 32, 3\) of b has 1 frames"):
        train([clips[0], short], tmp_path, small_model)
    wide = TrainingClip(np.zeros((4, 32, 48, 3), np.uint8), "c")
    with pytest.raises(ConfigError, match="of c is 48×32; it must be square"):
        train([clips[0], wide], tmp_path, small_model)


def test_facial_points_need_faces(tmp_path, small_model, clips):
    """The real detector on images of discs."""
    with pytest.raises(ConfigError, match=r"need faces, but no training frame shows one"):
        train(clips[:2], tmp_path, small_model, QUICK.model_copy(update={"landmarks": 1.0, "frames_per_clip": 2}))


def test_a_diverging_training_stops_and_writes_nothing(tmp_path, small_model, clips):
    settings = QUICK.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(FloatingPointError, match=r"lower animator\.train\.learning_rate"):
        train(clips, tmp_path, small_model, settings, log_every=1)
    assert not (tmp_path / "weights.pth").exists()


@pytest.mark.numeric
def test_the_jacobian_of_a_deformation_is_its_derivative():
    deformation = RandomDeformation(2, torch.Generator().manual_seed(0), torch.device("cpu"))
    z = torch.rand(2, 5, 2, generator=torch.Generator().manual_seed(1)) * 1.8 - 0.9
    for i in range(2):

        def at_one_point(point: torch.Tensor, i: int = i) -> torch.Tensor:
            return deformation.points(point.expand(2, 1, 2))[i, 0]

        for j in range(5):
            wanted = torch.autograd.functional.jacobian(at_one_point, z[i, j])
            np.testing.assert_allclose(deformation.jacobian(z)[i, j], wanted, atol=1e-5)


@pytest.mark.numeric
def test_images_and_points_are_deformed_consistently():
    """An image of its own coordinates is deformed into the coordinates that it is sampled at."""
    deformation = RandomDeformation(1, torch.Generator().manual_seed(3), torch.device("cpu"))
    line = torch.linspace(-1, 1, 64)
    y, x = torch.meshgrid(line, line, indexing="ij")
    image = torch.stack([x, y, torch.zeros_like(x)])[None]
    found = deformation.images(image, align_corners=True)[0, :2].permute(1, 2, 0)
    wanted = deformation.points(torch.stack([x, y], -1).view(1, -1, 2)).view(64, 64, 2)
    inside = (wanted.abs() < 1).all(-1)
    assert inside.float().mean() > 0.7
    assert (wanted - torch.stack([x, y], -1)).abs().max() > 0.02
    np.testing.assert_allclose(found[inside], wanted[inside], atol=1e-5)


def test_training_needs_no_video_or_vision_library():
    """A training machine needs only torch, numpy, pyarrow and pydantic."""
    code = (
        "import sys, deepfakemnist.animate.training.loop\n"
        "print(sorted({'av', 'cv2', 'ffmpeg', 'scipy', 'skimage', 'torchvision'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
