"""Mesh animator on a photograph, driven by its own rotations: head roll, face size, start frame, missing faces."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import data, transform

from deepfakemnist.animate.registry import load_animator
from deepfakemnist.config.animators.registry import animator_settings
from deepfakemnist.faces.landmark_sets import FACE_LINES, NOSE
from deepfakemnist.faces.landmarks import FaceLandmarker

pytestmark = pytest.mark.numeric

NOSE_TIP = NOSE[6]
#: Of the driver's head, degrees counter-clockwise.
LEANING = (0, 8, 16, 8, 0)


def turned(image: np.ndarray, degrees: float) -> np.ndarray:
    """Return the image rotated counter-clockwise about its centre."""
    return (transform.rotate(image, degrees, mode="edge") * 255).round().astype(np.uint8)


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    """NASA's portrait of Eileen Collins, cropped to a square of 256."""
    return np.ascontiguousarray(data.astronaut()[0:256, 96:352])


@pytest.fixture(scope="module")
def leaning(face: np.ndarray) -> np.ndarray:
    """A driver who leans to one side and comes back."""
    return np.stack([turned(face, degrees) for degrees in LEANING])


def mesh(**settings: object):
    return load_animator(animator_settings(name="mesh", **settings), None)


def roll(frame: np.ndarray) -> float:
    return float(FaceLandmarker()(frame).pose[2])


def test_a_head_leans_as_the_drivers_does(face: np.ndarray, leaning: np.ndarray) -> None:
    animator, other = mesh(start_frame="first"), np.ascontiguousarray(face[:, ::-1])
    frames = list(animator.render(animator.prepare_source(other), animator.prepare_driving(leaning)))
    assert [frame.shape for frame in frames] == [(256, 256, 3)] * 5
    assert np.abs(frames[0].astype(int) - other).max() <= 1, "without motion, the source"
    assert roll(frames[2]) - roll(frames[0]) == pytest.approx(roll(leaning[2]) - roll(leaning[0]), rel=0.25)
    assert abs(roll(leaning[2]) - roll(leaning[0])) > 12


def test_motion_is_relative_to_the_size_of_the_face(face: np.ndarray) -> None:
    small = transform.resize(np.pad(face, ((64, 64), (64, 64), (0, 0)), mode="edge"), (256, 256), anti_aliasing=True)
    small = (small * 255).round().astype(np.uint8)
    animator = mesh()
    motion = animator.prepare_driving(np.stack([face, np.roll(face, 20, axis=1)]))
    frames = animator.render(animator.prepare_source(small), motion)
    before, after = (animator.prepare_source(frame) for frame in frames)
    assert (after.landmarks - before.landmarks)[NOSE_TIP, 0] == pytest.approx(20 / 1.5, abs=2.5)


def test_the_best_start_is_the_frame_that_looks_like_the_source(face: np.ndarray, leaning: np.ndarray) -> None:
    animator, source = mesh(start_frame="best"), turned(face, 16)
    state, motion = animator.prepare_source(source), animator.prepare_driving(leaning)
    assert animator.start_of(state, motion) == 2
    assert mesh(start_frame="first").start_of(state, motion) == 0
    frames = list(animator.render(state, motion))
    assert np.abs(frames[2].astype(int) - source).max() <= 1
    assert roll(frames[0]) == pytest.approx(roll(face), abs=3), "backwards from there, the head returns upright"


def test_a_driver_frame_without_a_face_is_interpolated(leaning: np.ndarray) -> None:
    driver = leaning.copy()
    driver[1] = 127
    animator = mesh()
    filled, whole = animator.prepare_driving(driver), animator.prepare_driving(leaning)
    expected = (whole["value"][0] + whole["value"][2]) / 2
    assert filled["value"][1, list(FACE_LINES)] == pytest.approx(expected[list(FACE_LINES)], abs=0.03)
