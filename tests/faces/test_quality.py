"""Crop quality metrics: head pose, pose ranges, interpolated fraction, sharpness, brightness."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from deepfakemnist.faces.detect import Face
from deepfakemnist.faces.quality import brightness, head_pose, interpolated_fraction, pose_ranges, sharpness

pytestmark = pytest.mark.numeric

#: A head with other proportions than the pose model, millimetres; x right, y down, z away.
HEAD = np.array([(-33.0, -36, 30), (33, -36, 30), (0, 0, 0), (-27, 34, 24), (27, 34, 24)])


def turned(yaw: float = 0, pitch: float = 0, roll: float = 0, width: int = 640, height: int = 360) -> Face:
    """The head 600 mm away, rotated in degrees: to the picture's right, down, clockwise."""
    (a, b, c) = np.radians((yaw, pitch, roll))
    about_y = np.array([[np.cos(a), 0, -np.sin(a)], [0, 1, 0], [np.sin(a), 0, np.cos(a)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    points = HEAD @ (about_z @ about_y @ about_x).T + (0, 0, 600)
    picture = points[:, :2] / points[:, 2:] * max(width, height) + (width / 2, height / 2)
    return Face((0, 0, 100, 100), picture.astype(np.float32), 0.9)


@pytest.mark.parametrize("angle", [-25.0, 10.0, 30.0])
def test_pose_follows_the_head(angle: float) -> None:
    neutral = np.array(head_pose(turned(), 640, 360))
    for number, name in enumerate(("yaw", "pitch", "roll")):
        change = np.array(head_pose(turned(**{name: angle}), 640, 360)) - neutral
        expected = np.zeros(3)
        expected[number] = angle
        # roll also rotates the nose direction, so yaw and pitch change too
        assert change[number] == pytest.approx(angle, abs=5), name
        if name != "roll":
            assert np.abs(change - expected).max() < 8, name


def test_pose_ranges() -> None:
    faces = [turned(yaw=angle) for angle in np.linspace(-20, 20, 41)]
    ranges = pose_ranges(faces, 640, 360)
    assert ranges["yaw_range"] == pytest.approx(36, rel=0.2)  # 5th to 95th percentile
    assert ranges["pitch_range"] < 6 and ranges["roll_range"] < 6


def test_frames_next_to_a_miss_are_guesses() -> None:
    """Sampled at 0, 5, 10, 15 with a miss at 10: only 6 to 14 are guesses."""
    assert interpolated_fraction(range(16), [0, 5, 10, 15], [0, 5, 15]) == 9 / 16
    assert interpolated_fraction(range(16), [0, 5, 10, 15], [0, 5, 10, 15]) == 0
    assert interpolated_fraction(range(3, 8), [5], [5]) == 0


def test_sharpness_and_brightness() -> None:
    picture = astronaut()[:256, 100:356]
    blurred = cv2.GaussianBlur(picture, (0, 0), 2)
    assert sharpness(picture) > 5 * sharpness(blurred)
    assert brightness(np.full((8, 8, 3), 90, np.uint8)) == 90
