from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage import img_as_ubyte

from deepfakemnist.animate.checkpoint import load_checkpoint
from deepfakemnist.animate.fomm import FommAnimator
from deepfakemnist.animate.protocol import Animator, Motion
from deepfakemnist.errors import ConfigError, Failed
from deepfakemnist.settings import AnimatorSettings


@pytest.fixture
def animator(tiny_checkpoint, tiny_model):
    return FommAnimator(load_checkpoint(tiny_checkpoint, tiny_model), device="cpu")


def as_bytes(pictures: np.ndarray) -> np.ndarray:
    return np.rint(pictures * 255).astype(np.uint8)


def rendered(animator: Animator, source: np.ndarray, driving: np.ndarray) -> np.ndarray:
    return np.stack(list(animator.render(animator.prepare_source(source), animator.prepare_driving(driving))))


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("mode", ["absolute", "relative", "relative-adapt"])
def test_predictions_are_the_original_programs(tiny_checkpoint, tiny_model, expected, mode, align_corners):
    settings = AnimatorSettings(model=tiny_model, motion=mode, align_corners=align_corners, batch_size=4)
    animator = FommAnimator.from_checkpoint(tiny_checkpoint, settings, device="cpu")
    state, motion = animator.prepare_source(expected["source"]), animator.prepare_driving(expected["driving"])
    batches = list(animator.predict(state, motion))
    assert [len(batch) for batch in batches] == [4, 2]
    wanted = expected[f"prediction__{mode.replace('-', '_')}__align_corners_{str(align_corners).lower()}"]
    np.testing.assert_allclose(np.concatenate(batches), wanted, atol=1e-5, rtol=0)


def test_modes_and_conventions_differ(expected):
    """Else the test above could not tell them apart."""
    predictions = [value for name, value in expected.items() if name.startswith("prediction__")]
    for i, one in enumerate(predictions):
        assert all(np.abs(one - other).max() > 1e-3 for other in predictions[:i])


def test_motion_is_the_original_programs(animator, expected):
    motion = animator.prepare_driving(expected["driving"])
    np.testing.assert_allclose(motion.value, expected["kp_driving_value"], atol=2e-6)
    np.testing.assert_allclose(motion.jacobian, expected["kp_driving_jacobian"], atol=2e-6)
    assert (len(motion), motion.value.dtype, motion.jacobian.dtype) == (6, np.float32, np.float32)


def test_frames_are_rounded_as_skimage_does(animator, expected):
    state, motion = animator.prepare_source(expected["source"]), animator.prepare_driving(expected["driving"])
    wanted = img_as_ubyte(np.concatenate(list(animator.predict(state, motion))))
    np.testing.assert_array_equal(np.stack(list(animator.render(state, motion))), wanted)


def test_bytes_and_floats_of_the_same_picture_give_the_same(animator, expected):
    driving = as_bytes(expected["driving"])
    floats = animator.prepare_driving((driving / 255).astype(np.float32))
    np.testing.assert_allclose(animator.prepare_driving(driving).value, floats.value, atol=1e-6)


def test_batch_size_changes_nothing_visible(tiny_checkpoint, tiny_model, expected):
    networks = load_checkpoint(tiny_checkpoint, tiny_model)
    source, driving = as_bytes(expected["source"]), as_bytes(expected["driving"])
    one, all_at_once = (
        rendered(FommAnimator(networks, batch_size=size, device="cpu"), source, driving).astype(int) for size in (1, 16)
    )
    assert np.abs(one - all_at_once).max() <= 1


def test_two_runs_give_the_same_pixels(animator, expected):
    source, driving = as_bytes(expected["source"]), as_bytes(expected["driving"])
    np.testing.assert_array_equal(rendered(animator, source, driving), rendered(animator, source, driving))


def test_one_source_state_serves_several_drivers(animator, expected):
    state = animator.prepare_source(expected["source"])
    forward = animator.prepare_driving(expected["driving"])
    backward = Motion(forward.value[::-1].copy(), forward.jacobian[::-1].copy())
    first = np.stack(list(animator.render(state, forward)))
    other = np.stack(list(animator.render(state, backward)))
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(np.stack(list(animator.render(state, forward))), first)


def test_a_consumer_of_frames_is_not_put_into_inference_mode(animator, expected):
    frames = animator.render(animator.prepare_source(expected["source"]), animator.prepare_driving(expected["driving"]))
    next(frames)
    assert not torch.is_inference_mode_enabled()


def test_motion_survives_its_file_and_the_file_is_reproducible(animator, expected, tmp_path):
    motion = animator.prepare_driving(expected["driving"])
    for name in ("a.npz", "b.npz"):
        motion.save(tmp_path / "motions" / name)
    loaded = Motion.load(tmp_path / "motions" / "a.npz")
    np.testing.assert_array_equal(loaded.value, motion.value)
    np.testing.assert_array_equal(loaded.jacobian, motion.jacobian)
    assert sorted(path.name for path in (tmp_path / "motions").iterdir()) == ["a.npz", "b.npz"]
    assert (tmp_path / "motions" / "a.npz").read_bytes() == (tmp_path / "motions" / "b.npz").read_bytes()


def test_bad_motion_files_are_named(tmp_path):
    broken, other = tmp_path / "broken.npz", tmp_path / "other.npz"
    broken.write_bytes(b"PK\x03\x04 no archive")
    np.savez(other, value=np.zeros((3, 5, 2), np.float32), jacobian=np.zeros((2, 5, 2, 2), np.float32))
    for path in (broken, other, tmp_path / "missing.npz"):
        with pytest.raises(Failed, match=path.name) as error:
            Motion.load(path)
        assert error.value.reason == "motion_unreadable"


def test_motion_of_another_precision_is_refused():
    with pytest.raises(ValueError, match="float64"):
        Motion(np.zeros((3, 5, 2)), np.zeros((3, 5, 2, 2)))


@pytest.mark.parametrize("shape", [(48, 64, 3), (16, 64, 3), (63, 63, 3)])
def test_pictures_the_network_cannot_take(animator, shape):
    with pytest.raises(Failed, match=r"sides from 32 in multiples of 32") as error:
        animator.prepare_source(np.zeros(shape, np.uint8))
    assert error.value.reason == "frame_size"


def test_pictures_that_are_none(animator):
    with pytest.raises(ValueError, match="float64"):
        animator.prepare_source(np.zeros((64, 64, 3)))
    with pytest.raises(ValueError, match="4 dimensions"):
        animator.prepare_driving(np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(Failed, match="no_frames"):
        animator.prepare_driving(np.zeros((0, 64, 64, 3), np.uint8))


def test_motion_of_other_weights(animator, expected):
    state = animator.prepare_source(expected["source"])
    motion = Motion(np.zeros((2, 7, 2), np.float32), np.zeros((2, 7, 2, 2), np.float32))
    with pytest.raises(Failed, match="7 keypoints, the animator 5"):
        next(animator.render(state, motion))


def test_keypoints_on_a_line_need_another_mode(animator, expected):
    state, motion = animator.prepare_source(expected["source"]), animator.prepare_driving(expected["driving"])
    line = np.repeat(np.linspace(-0.5, 0.5, 5, dtype=np.float32)[:, None], 2, axis=1)
    flat = replace(motion, value=np.broadcast_to(line, motion.value.shape).copy())
    with pytest.raises(Failed, match="use motion: relative") as error:
        next(animator.render(state, flat))
    assert error.value.reason == "flat_keypoints"


def test_a_network_that_gives_nan_is_no_success(animator, expected):
    state, motion = animator.prepare_source(expected["source"]), animator.prepare_driving(expected["driving"])
    with torch.no_grad():
        animator.networks.generator.final.bias[0] = float("nan")
    with pytest.raises(Failed, match="not_finite"):
        next(animator.render(state, motion))


def test_settings_reach_the_checkpoint_check(tiny_checkpoint, tiny_model):
    with pytest.raises(ConfigError, match="do not fit animator.model"):
        FommAnimator.from_checkpoint(tiny_checkpoint, AnimatorSettings(), device="cpu")
    with pytest.raises(ConfigError, match="but the config asks for"):
        settings = AnimatorSettings(model=tiny_model)
        FommAnimator.from_checkpoint(tiny_checkpoint, settings, sha256="0" * 64, device="cpu")
