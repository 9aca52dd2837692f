"""Shot boundary detection: hard cuts and person changes, but not motion, light or blinks."""

from __future__ import annotations

import cv2
import numpy as np
from matplotlib import cbook
from PIL import Image
from skimage.data import astronaut

from deepfakemnist.faces.detect import FaceDetector
from deepfakemnist.faces.shots import Cut, face_patch, face_similarity, find_cuts, frame_difference, thumbnail


def other_person() -> np.ndarray:
    """Grace Hopper, public domain, shipped by matplotlib."""
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        return np.array(Image.open(file).convert("RGB"))


def patch_of(picture: np.ndarray) -> np.ndarray:
    return face_patch(picture, FaceDetector()(picture)[0].landmarks)


def test_frame_difference_is_the_mean_change() -> None:
    dark, light = (np.full((90, 160), level, np.uint8) for level in (40, 70))
    assert frame_difference(thumbnail(dark), thumbnail(dark)) == 0
    assert frame_difference(thumbnail(dark), thumbnail(light)) == 30


def test_hard_cut_among_small_differences() -> None:
    differences = [0.0, *[1.0] * 20, 40.0, *[1.5] * 20]
    assert find_cuts(differences, [], []) == [Cut(21, "shot")]


def test_fast_motion_and_moving_light_are_not_cuts() -> None:
    """Differences as large as those of a cut, but many of them."""
    assert find_cuts([0.0, *np.linspace(15, 25, 30)], [], []) == []


def test_a_smaller_difference_is_a_cut_only_between_different_faces() -> None:
    first, second = patch_of(astronaut()), patch_of(other_person())
    differences = [0.0, *[1.0] * 20, 9.0, *[1.0] * 20]
    face_frames = list(range(0, 40, 5))
    assert find_cuts(differences, face_frames, [first] * 8) == []
    assert find_cuts(differences, face_frames, [first] * 5 + [second] * 3) == [Cut(21, "shot")]


def test_another_person_in_the_same_place() -> None:
    first, second = patch_of(astronaut()), patch_of(other_person())
    face_frames, differences = list(range(0, 40, 5)), [0.0, *[1.0] * 12, 4.0, *[1.0] * 26]
    assert find_cuts(differences, face_frames, [first] * 3 + [second] * 5) == [Cut(13, "person")]
    # a head turn: no large difference between consecutive frames
    assert find_cuts([0.0, *[1.0] * 39], face_frames, [first] * 3 + [second] * 5) == []
    # one outlier, then the same person again
    assert find_cuts(differences, face_frames, [first] * 3 + [second] + [first] * 4) == []


def test_face_similarity_ignores_position_size_tilt_and_light() -> None:
    picture = astronaut()
    turned = cv2.warpAffine(picture, cv2.getRotationMatrix2D((220, 110), 12, 0.8), (512, 512))
    dimmed = (turned * 0.6 + 30).astype(np.uint8)
    same = face_similarity([patch_of(picture), patch_of(dimmed)], 1)
    other = face_similarity([patch_of(picture), patch_of(other_person())], 1)
    assert same > 0.65 and other < 0.3
    assert face_similarity([patch_of(picture)], 0) == 1.0
