"""Stability of landmarks on a photograph, and on the same one torn."""

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from deepfakemnist.faces.landmark_sets import LEFT_BROW, OVAL, RIGHT_BROW
from deepfakemnist.faces.landmark_stability import counterparts, landmark_instability
from deepfakemnist.faces.landmarks import FaceLandmarker


@pytest.fixture(scope="module")
def landmarker() -> FaceLandmarker:
    return FaceLandmarker()


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    return cv2.resize(astronaut()[:230, 110:340], (256, 256), interpolation=cv2.INTER_AREA)


def test_counterparts_swap_the_sides_of_the_face():
    other = counterparts()
    assert [other[index] for index in (33, 61, 234)] == [263, 291, 454]
    assert [other[index] for index in RIGHT_BROW] == list(LEFT_BROW)
    assert list(other[[1, 10, 152]]) == [1, 10, 152]
    assert list(other[other]) == list(range(468))


def test_landmarks_of_a_face_hardly_move_with_the_view(landmarker, portrait):
    face = landmarker(portrait)
    assert face is not None
    moved = landmark_instability(landmarker, portrait, face)
    assert moved.shape == (468,) and moved.dtype == np.float32
    # Real faces measure 0.010 to 0.015 over all landmarks; a side mistaken for the other one would move by 1.
    assert 0.002 < moved.mean() < 0.03
    larger = cv2.resize(portrait, (512, 512), interpolation=cv2.INTER_CUBIC)
    twice = landmarker(larger)
    assert twice is not None
    assert landmark_instability(landmarker, larger, twice).mean() == pytest.approx(moved.mean(), rel=0.35)


def test_a_torn_outline_moves_with_the_view(landmarker, portrait):
    torn = portrait.copy()
    torn[:, 128:] = np.roll(portrait, 24, axis=0)[:, 128:]
    found = [landmarker(frame) for frame in (portrait, torn)]
    outline = [
        landmark_instability(landmarker, frame, face)[list(OVAL)].mean()
        for frame, face in zip((portrait, torn), found, strict=True)
    ]
    assert outline[1] > 1.5 * outline[0]
