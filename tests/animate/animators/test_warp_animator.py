"""Warp animator on a real face: motion transfer, start frame, missing faces; Motion files."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import data, transform

from deepfakemnist.animate.protocol import Motion
from deepfakemnist.animate.registry import load_animator
from deepfakemnist.animate.start_frame import best_start, face_lines
from deepfakemnist.config.animator import AnimatorSettings
from deepfakemnist.config.registry import animator_names
from deepfakemnist.errors import ConfigError, Failed, Rejected
from deepfakemnist.faces.landmark_sets import FACE_LINES, NOSE
from deepfakemnist.faces.landmarks import FaceLandmarker

pytestmark = pytest.mark.numeric

NOSE_TIP = FACE_LINES.index(NOSE[6])


def turned(image: np.ndarray, degrees: float) -> np.ndarray:
    """Return the image rotated counter-clockwise about its centre."""
    return (transform.rotate(image, degrees, mode="edge") * 255).round().astype(np.uint8)


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    """NASA's portrait of Eileen Collins, cropped to a square of 256."""
    return np.ascontiguousarray(data.astronaut()[0:256, 96:352])


@pytest.fixture(scope="module")
def leaning(face) -> np.ndarray:
    """A driver who leans to one side and comes back."""
    return np.stack([turned(face, degrees) for degrees in (0, 8, 16, 8, 0)])


def warp(**settings: object):
    return load_animator(AnimatorSettings(name="warp", **settings), None)


def roll(frame: np.ndarray) -> float:
    return float(FaceLandmarker()(frame).pose[2])


def test_animators_are_registered_by_their_files():
    assert animator_names() == ["fomm", "mesh", "warp"]
    with pytest.raises(ValueError, match="unknown animator; allowed are fomm, mesh, warp"):
        AnimatorSettings(name="fom")


@pytest.mark.slow
def test_a_face_moves_as_the_driver_moves(face, leaning):
    animator = warp()
    state = animator.prepare_source(face[:, ::-1])  # mirrored, as a different person
    motion = animator.prepare_driving(leaning)
    frames = list(animator.render(state, motion))
    assert len(frames) == 5
    assert frames[0].shape == (256, 256, 3)
    assert np.array_equal(frames[0], face[:, ::-1]), "zero motion leaves the image unchanged"
    drivers, results = [roll(frame) for frame in leaning], [roll(frame) for frame in frames]
    assert results[2] - results[0] == pytest.approx(drivers[2] - drivers[0], rel=0.25)
    assert abs(drivers[2] - drivers[0]) > 12


def test_the_image_border_does_not_move(face, leaning):
    animator = warp()
    frames = list(animator.render(animator.prepare_source(face), animator.prepare_driving(leaning)))
    changed = np.abs(frames[2].astype(int) - face)
    assert changed[60:200, 60:200].mean() > 5
    assert changed[:2].mean() < changed[60:200, 60:200].mean() / 4


def test_absolute_motion_puts_the_landmarks_where_the_drivers_are(face):
    animator = warp(motion="absolute")
    driver = np.roll(face, 12, axis=1)
    motion = animator.prepare_driving(driver[None])
    (frame,) = animator.render(animator.prepare_source(face), motion)
    nose = animator.prepare_source(frame).landmarks[NOSE_TIP]
    assert nose == pytest.approx(motion.value[0, NOSE_TIP], abs=0.02)
    assert nose[0] - animator.prepare_source(face).landmarks[NOSE_TIP, 0] == pytest.approx(24 / 256, abs=0.02)


def test_scale_is_adapted_to_the_size_of_the_face(face, leaning):
    small = transform.resize(np.pad(face, ((64, 64), (64, 64), (0, 0)), mode="edge"), (256, 256), anti_aliasing=True)
    small = (small * 255).astype(np.uint8)
    moved = {}
    for adapt in (False, True):
        animator = warp(adapt_scale=adapt)
        state, motion = animator.prepare_source(small), animator.prepare_driving(np.stack([face, np.roll(face, 20, 1)]))
        frames = list(animator.render(state, motion))
        moved[adapt] = (animator.prepare_source(frames[1]).landmarks - state.landmarks)[NOSE_TIP, 0] * 128
    assert moved[False] == pytest.approx(20, abs=2.5)
    assert moved[True] == pytest.approx(20 / 1.5, abs=2.5)


def test_the_best_start_is_the_frame_that_looks_like_the_source(face, leaning):
    animator = warp(start_frame="best")
    state, motion = animator.prepare_source(turned(face, 16)), animator.prepare_driving(leaning)
    assert animator.start_of(state, motion) == 2
    frames = list(animator.render(state, motion))
    assert np.array_equal(frames[2], state.image)
    assert roll(frames[0]) == pytest.approx(roll(face), abs=3), "backwards from there the head returns upright"
    assert warp().start_of(state, motion) == 0


def test_frames_without_a_face_are_interpolated_and_a_driver_without_any_is_rejected(face, leaning):
    driver = leaning.copy()
    driver[1] = 127
    animator = warp()
    filled, whole = animator.prepare_driving(driver), animator.prepare_driving(leaning)
    assert filled.value[1] == pytest.approx((whole.value[0] + whole.value[2]) / 2, abs=0.02)
    nothing = np.full((3, 256, 256, 3), 127, np.uint8)
    with pytest.raises(Rejected) as error:
        animator.prepare_driving(nothing)
    assert error.value.reason == "no_face"
    with pytest.raises(Rejected):
        animator.prepare_source(nothing[0])
    with pytest.raises(Failed):
        animator.prepare_driving(nothing[:0])


def test_best_start_skips_frames_without_a_face():
    line = np.linspace(0, 1, 2 * len(FACE_LINES), dtype=np.float32).reshape(-1, 2)
    face = np.random.default_rng(0).normal(size=(len(FACE_LINES), 2)).astype(np.float32)
    none = face_lines(None, 256, 256)
    assert best_start(none, face[None]) is None
    assert best_start(face, np.stack([none, none])) is None
    assert best_start(face, np.stack([none, face])) == 1
    assert best_start(face, np.stack([line, 3 * face + 0.4])) == 1, "position and size do not matter"


def test_motion_and_weights_of_other_animators_are_refused(face, tmp_path):
    animator = warp()
    other = Motion(np.zeros((2, 10, 2), np.float32), np.zeros((2, 10, 2, 2), np.float32))
    with pytest.raises(Failed) as error:
        next(animator.render(animator.prepare_source(face), other))
    assert error.value.reason == "motion_mismatch"
    with pytest.raises(ConfigError, match="takes no weights"):
        load_animator(AnimatorSettings(name="warp"), tmp_path / "weights")
    with pytest.raises(ConfigError, match=r"fomm needs animator\.weights"):
        load_animator(AnimatorSettings(), None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"motion": "absolute", "adapt_scale": True}, "adapt_scale: true has no effect with motion: absolute"),
        ({"motion": "absolute", "start_frame": "best"}, "start_frame: best has no effect"),
        ({"weights_url": "https://example.org/vox.pth.tar"}, "needs weights .* and weights_sha256"),
    ],
)
def test_modes_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        AnimatorSettings(**settings)


def test_motion_survives_its_file(tmp_path):
    value = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)
    jacobian = np.ones((4, 5, 2, 2), np.float32)
    pose = np.full((4, 7, 2), np.nan, np.float32)
    for motion in (Motion(value), Motion(value, jacobian), Motion(value, jacobian, pose)):
        path = tmp_path / "motion.npz"
        motion.save(path)
        loaded = Motion.load(path)
        for name in ("value", "jacobian", "pose"):
            assert (getattr(loaded, name) is None) == (getattr(motion, name) is None)
            if getattr(motion, name) is not None:
                assert np.array_equal(getattr(loaded, name), getattr(motion, name), equal_nan=True)
    with pytest.raises(ValueError, match=r"jacobian \(3, 5, 2, 2\)"):
        Motion(value, jacobian[:3])
    with pytest.raises(ValueError, match="float64"):
        Motion(value.astype(np.float64))
