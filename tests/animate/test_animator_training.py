from __future__ import annotations

import json
import logging
import subprocess
import sys

import numpy as np
import pytest
import torch

from deepfakemnist.animate.checkpoint import load_checkpoint
from deepfakemnist.animate.equivariance import RandomDeformation
from deepfakemnist.animate.training import train_animator
from deepfakemnist.errors import ConfigError
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.settings import TrainAnimatorSettings

QUICK = TrainAnimatorSettings(steps=3, batch_size=2, size=32, frames_per_clip=8)


def train(clips, path, model, settings=QUICK, seed=0, **more):
    report = train_animator(clips, path, model, settings, True, seed=seed, device="cpu", **more)
    networks = load_checkpoint(path, model)
    return report, torch.cat([value.flatten().double() for value in networks.state_dict().values()]).numpy()


def test_the_same_seed_gives_the_same_weights(tmp_path, small_model, moving_discs):
    torch.manual_seed(1)
    first_report, first = train(moving_discs, tmp_path / "first.pth", small_model)
    torch.rand(5)  # what others draw must not matter
    again_report, again = train(moving_discs, tmp_path / "again.pth", small_model)
    np.testing.assert_array_equal(first, again)
    assert first_report.losses == again_report.losses
    assert first_report.held_out_l1 == again_report.held_out_l1
    _, other = train(moving_discs, tmp_path / "other.pth", small_model, seed=1)
    assert not np.array_equal(first, other)


def test_training_leaves_the_callers_random_numbers_alone(tmp_path, small_model, moving_discs):
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    train(moving_discs, tmp_path / "weights.pth", small_model)
    np.testing.assert_array_equal(torch.rand(3), wanted)


def test_files_and_arrays_give_the_same_weights(tmp_path, small_model, moving_discs):
    paths = [tmp_path / f"{i}.mp4" for i in range(3)]
    for path, frames in zip(paths, moving_discs, strict=False):
        write_working_clip(path, frames, 25.0)
    _, from_files = train(paths, tmp_path / "files.pth", small_model)
    _, from_arrays = train(moving_discs[:3], tmp_path / "arrays.pth", small_model)
    np.testing.assert_array_equal(from_files, from_arrays)


def test_it_learns_to_move_what_it_has_never_seen(tmp_path, small_model, moving_discs, caplog):
    settings = TrainAnimatorSettings(steps=150, batch_size=4, size=32, learning_rate=2e-3)
    with caplog.at_level(logging.INFO):
        report, _ = train(moving_discs, tmp_path / "weights.pth", small_model, settings, log_every=50)
    assert (report.clips, report.held_out_clips, report.device) == (5, 1, "cpu")
    assert report.held_out_l1 < 0.6 * report.copy_l1
    assert [entry.step for entry in report.losses] == [1, 50, 100, 150]
    assert report.losses[-1].reconstruction < 0.5 * report.losses[0].reconstruction
    assert "step 100/150: loss" in caplog.text
    assert "s left" in caplog.text


def test_copy_l1_is_the_plain_difference_of_frames(tmp_path, small_model):
    """Two frames per clip, 51 levels apart: whichever pair is drawn, copying is off by 51/255."""
    clip = np.stack([np.full((32, 32, 3), level, np.uint8) for level in (100, 151)])
    report, _ = train([clip, clip], tmp_path / "weights.pth", small_model)
    assert report.copy_l1 == pytest.approx(0.2, abs=1e-6)


def test_the_report_is_json(tmp_path, small_model, moving_discs):
    report, _ = train(moving_discs, tmp_path / "weights.pth", small_model)
    report.save(tmp_path / "report.json")
    content = json.loads((tmp_path / "report.json").read_text())
    assert content["steps"] == 3
    assert content["held_out_l1"] == report.held_out_l1
    assert content["losses"][0]["step"] == 1


def test_clips_of_another_size_are_resized(tmp_path, small_model, moving_discs):
    larger = [clip.repeat(2, axis=1).repeat(2, axis=2) for clip in moving_discs]
    report, _ = train(larger, tmp_path / "weights.pth", small_model)
    same_size, _ = train(moving_discs, tmp_path / "weights.pth", small_model)
    assert report.copy_l1 == pytest.approx(same_size.copy_l1, rel=0.1)


@pytest.mark.parametrize(
    ("clips", "change", "message"),
    [
        (1, {}, "at least 2 usable clips, one of them held out; there are 1"),
        (3, {"size": 36}, r"train\.size is 36; this architecture takes sizes from 16 in multiples of 8"),
        (3, {"frames_per_clip": 1}, "frames_per_clip is 1; a pair takes at least 2"),
    ],
)
def test_impossible_trainings_are_refused(tmp_path, small_model, moving_discs, clips, change, message):
    settings = QUICK.model_copy(update=change)
    with pytest.raises(ConfigError, match=message):
        train(moving_discs[:clips], tmp_path / "weights.pth", small_model, settings)
    assert not (tmp_path / "weights.pth").exists()


def test_a_clip_of_one_frame_is_refused(tmp_path, small_model, moving_discs):
    with pytest.raises(ConfigError, match=r"\(1, 32, 32, 3\) has 1 frames"):
        train([moving_discs[0], moving_discs[1][:1]], tmp_path / "weights.pth", small_model)


def test_a_diverging_training_stops_and_writes_nothing(tmp_path, small_model, moving_discs):
    settings = QUICK.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(FloatingPointError, match=r"lower animator\.train\.learning_rate"):
        train(moving_discs, tmp_path / "weights.pth", small_model, settings, log_every=1)
    assert not (tmp_path / "weights.pth").exists()


def test_the_jacobian_of_a_deformation_is_its_derivative():
    deformation = RandomDeformation(2, torch.Generator().manual_seed(0), torch.device("cpu"))
    z = torch.rand(2, 5, 2, generator=torch.Generator().manual_seed(1)) * 1.8 - 0.9
    for i in range(2):

        def at_one_point(point: torch.Tensor, i: int = i) -> torch.Tensor:
            return deformation.points(point.expand(2, 1, 2))[i, 0]

        for j in range(5):
            wanted = torch.autograd.functional.jacobian(at_one_point, z[i, j])
            np.testing.assert_allclose(deformation.jacobian(z)[i, j], wanted, atol=1e-5)


def test_a_deformed_picture_shows_what_the_points_say():
    """A picture whose colours are its coordinates turns into the coordinates it is sampled at."""
    deformation = RandomDeformation(1, torch.Generator().manual_seed(3), torch.device("cpu"))
    line = torch.linspace(-1, 1, 64)
    y, x = torch.meshgrid(line, line, indexing="ij")
    picture = torch.stack([x, y, torch.zeros_like(x)])[None]
    found = deformation.pictures(picture, align_corners=True)[0, :2].permute(1, 2, 0)
    wanted = deformation.points(torch.stack([x, y], -1).view(1, -1, 2)).view(64, 64, 2)
    inside = (wanted.abs() < 1).all(-1)
    assert inside.float().mean() > 0.7
    assert (wanted - torch.stack([x, y], -1)).abs().max() > 0.02
    np.testing.assert_allclose(found[inside], wanted[inside], atol=1e-5)


def test_it_needs_no_video_or_vision_library():
    """A machine that only trains has torch, numpy, pyarrow and pydantic."""
    code = (
        "import sys, deepfakemnist.animate.training\n"
        "print(sorted({'av', 'cv2', 'ffmpeg', 'scipy', 'skimage', 'torchvision'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
