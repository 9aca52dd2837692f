"""TPSMM animator against the original program: modes, batches, start frame, and settings."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from deepfakemnist.animate.protocol import Motion
from deepfakemnist.animate.registry import load_animator
from deepfakemnist.animate.tpsmm.animator import TpsmmAnimator
from deepfakemnist.animate.tpsmm.checkpoint import LICENCE
from deepfakemnist.config.animators.tpsmm import TpsmmSettings
from deepfakemnist.errors import ConfigError, Failed

pytestmark = pytest.mark.numeric

MODES = ["standard", "relative", "avd"]


@pytest.fixture
def animator(networks) -> TpsmmAnimator:
    return TpsmmAnimator(networks, device="cpu")


def rendered(animator: TpsmmAnimator, expected: dict[str, np.ndarray]) -> np.ndarray:
    state, motion = animator.prepare_source(expected["source_u8"]), animator.prepare_driving(expected["driving_u8"])
    return np.stack(list(animator.render(state, motion)))


@pytest.mark.parametrize("mode", MODES)
def test_frames_match_the_original_program(checkpoint, expected, mode):
    settings = TpsmmSettings(weights=checkpoint, motion=mode, batch_size=3)
    animator = load_animator(settings, checkpoint, "cpu")
    state, motion = animator.prepare_source(expected["source_u8"]), animator.prepare_driving(expected["driving_u8"])
    batches = list(animator.predict(state, motion))
    assert [len(batch) for batch in batches] == [3, 2]
    made = np.concatenate(batches)[:, ::4, ::4]
    np.testing.assert_allclose(made, expected[f"frames__{mode}"], atol=1e-4, rtol=0)
    bytes_made = np.stack(list(animator.render(state, motion))).astype(int)
    assert np.abs(bytes_made - expected[f"frames_u8__{mode}"]).max() <= 1


def test_modes_differ(expected):
    """Otherwise the comparison with the original program could not distinguish them."""
    frames = [expected[f"frames__{mode}"] for mode in MODES]
    for i, one in enumerate(frames):
        assert all(np.abs(one - other).max() > 0.1 for other in frames[:i])


def test_motion_is_the_key_points_of_the_original_program(animator, expected):
    motion = animator.prepare_driving(expected["driving_u8"])
    motion.check(animator.info.motion)
    assert (list(motion.arrays), motion["value"].dtype) == (["value"], np.float32)
    np.testing.assert_allclose(motion["value"], expected["kp_driving"], atol=1e-5, rtol=0)


def test_batch_size_has_no_visible_effect(networks, expected):
    one, all_at_once = (
        rendered(TpsmmAnimator(networks, batch_size=size, device="cpu"), expected).astype(int) for size in (1, 8)
    )
    assert np.abs(one - all_at_once).max() <= 1


def test_two_runs_give_the_same_pixels(animator, expected):
    np.testing.assert_array_equal(rendered(animator, expected), rendered(animator, expected))


def test_a_source_is_encoded_once_for_all_drivers(networks, expected):
    animator = TpsmmAnimator(networks, device="cpu")
    runs = []
    animator.networks.inpainting_network.first.register_forward_hook(lambda *_: runs.append(1))
    state, motion = animator.prepare_source(expected["source_u8"]), animator.prepare_driving(expected["driving_u8"])
    backward = Motion({"value": motion["value"][::-1].copy()})
    first, other = (np.stack(list(animator.render(state, one))) for one in (motion, backward))
    assert len(runs) == 1
    assert not np.array_equal(first, other)


def test_relative_motion_starts_from_the_chosen_frame(networks, expected):
    """As if the driver began there: the original renders backwards and forwards from that frame."""
    animator = TpsmmAnimator(networks, start_frame="neutral", device="cpu")
    state = animator.prepare_source(expected["source_u8"])
    scores = np.array([0.2, 0.4, 0.9, 0.9, 0.1], np.float32)
    motion = Motion({"value": expected["kp_driving"], "neutrality": scores})
    assert animator.start_of(state, motion) == 2
    frames = np.stack(list(animator.render(state, motion)))
    first = TpsmmAnimator(networks, device="cpu")
    forwards, backwards = expected["kp_driving"][2:], expected["kp_driving"][2::-1].copy()
    behind, ahead = (list(first.render(state, Motion({"value": part}))) for part in (backwards, forwards))
    assert np.abs(frames.astype(int) - np.stack([*behind[::-1], *ahead[1:]])).max() <= 1
    plain = np.stack(list(first.render(state, Motion({"value": expected["kp_driving"]}))))
    assert np.abs(frames.astype(int) - plain).max() > 1


def test_best_start_needs_a_motion_with_poses(networks, animator, expected):
    best = TpsmmAnimator(networks, start_frame="best", device="cpu")
    state, motion = best.prepare_source(expected["source_u8"]), animator.prepare_driving(expected["driving_u8"])
    with pytest.raises(Failed, match="prepare it again") as error:
        best.start_of(state, motion)
    assert error.value.reason == "motion_without_pose"
    assert best.start_of(state, best.prepare_driving(expected["driving_u8"])) == 0, "no frame shows a face"


def test_avd_needs_its_network(tmp_path, checkpoint):
    content = torch.load(checkpoint, weights_only=True)
    del content["avd_network"]
    path = tmp_path / "without.pth.tar"
    torch.save(content, path)
    settings = TpsmmSettings(weights=path, motion="avd")
    with pytest.raises(ConfigError, match="motion: avd needs weights with the network avd_network"):
        load_animator(settings, path, "cpu")
    assert load_animator(TpsmmSettings(weights=path), path, "cpu").info.name == "tpsmm"


def test_settings_that_would_have_no_effect_are_refused(checkpoint):
    for motion in ("standard", "avd"):
        with pytest.raises(ValueError, match=f"start_frame: best has no effect with motion: {motion}"):
            TpsmmSettings(weights=checkpoint, motion=motion, start_frame="best")
    with pytest.raises(ValueError, match="adapt_scale"):
        TpsmmSettings(weights=checkpoint, adapt_scale=False)


def test_weights_are_needed_and_their_digest_is_checked(checkpoint):
    with pytest.raises(ValueError, match=r"name: tpsmm needs weights: the official vox\.pth\.tar"):
        TpsmmSettings()
    with pytest.raises(ConfigError, match=r"animator tpsmm needs weights"):
        load_animator(TpsmmSettings(weights=checkpoint), None, "cpu")
    with pytest.raises(ConfigError, match="but the config expects"):
        load_animator(TpsmmSettings(weights=checkpoint, weights_sha256="0" * 64), checkpoint, "cpu")


def test_info_describes_the_animator(checkpoint):
    info = load_animator(TpsmmSettings(weights=checkpoint), checkpoint, "cpu").info
    assert (info.name, info.licence, info.precision, info.size) == ("tpsmm", LICENCE, "float32", None)
    assert info.weights_sha256 == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert info.motion["value"].shape == (50, 2)


@pytest.mark.parametrize("shape", [(48, 64, 3), (16, 64, 3)])
def test_unsupported_image_sizes_fail(animator, shape):
    with pytest.raises(Failed, match="sides from 32 in multiples of 32") as error:
        animator.prepare_source(np.zeros(shape, np.uint8))
    assert error.value.reason == "frame_size"


def test_motion_of_other_weights_is_refused(animator, expected):
    state = animator.prepare_source(expected["source_u8"])
    with pytest.raises(Failed, match="other weights") as error:
        next(animator.render(state, Motion({"value": np.zeros((2, 10, 2), np.float32)})))
    assert error.value.reason == "motion_mismatch"


def test_collinear_key_points_need_another_mode(animator, expected):
    state = animator.prepare_source(expected["source_u8"])
    line = np.repeat(np.linspace(-0.5, 0.5, 50, dtype=np.float32)[:, None], 2, axis=1)
    with pytest.raises(Failed, match="use motion: standard") as error:
        next(animator.render(state, Motion({"value": line[None]})))
    assert error.value.reason == "flat_keypoints"


def test_nan_in_the_weights_is_a_failure(animator, expected):
    animator.networks.inpainting_network.first[0].bias[0] = float("nan")
    with pytest.raises(Failed, match="frames from 0 on contain NaN") as error:
        rendered(animator, expected)
    assert error.value.reason == "not_finite"
