"""Cuts are found by what changes at once; movement, light and blinks are no cuts."""

from __future__ import annotations

import cv2
import numpy as np
from matplotlib import cbook
from PIL import Image
from skimage.data import astronaut

from deepfakemnist.faces.detect import FaceDetector
from deepfakemnist.faces.shots import Cut, alike, face_patch, find_cuts, step, thumbnail


def other_person() -> np.ndarray:
    """Grace Hopper, public domain, shipped by matplotlib."""
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        return np.array(Image.open(file).convert("RGB"))


def patch_of(picture: np.ndarray) -> np.ndarray:
    return face_patch(picture, FaceDetector()(picture)[0].landmarks)


def test_step_is_the_mean_change() -> None:
    dark, light = (np.full((90, 160), level, np.uint8) for level in (40, 70))
    assert step(thumbnail(dark), thumbnail(dark)) == 0
    assert step(thumbnail(dark), thumbnail(light)) == 30


def test_hard_cut_among_small_steps() -> None:
    steps = [0.0, *[1.0] * 20, 40.0, *[1.5] * 20]
    assert find_cuts(steps, [], []) == [Cut(21, "shot")]


def test_fast_movement_and_a_moving_light_are_no_cuts() -> None:
    """Steps as large as those of a cut, but many of them."""
    assert find_cuts([0.0, *np.linspace(15, 25, 30)], [], []) == []


def test_a_smaller_step_is_a_cut_only_between_faces_that_differ() -> None:
    first, second = patch_of(astronaut()), patch_of(other_person())
    steps = [0.0, *[1.0] * 20, 9.0, *[1.0] * 20]
    looks = list(range(0, 40, 5))
    assert find_cuts(steps, looks, [first] * 8) == []
    assert find_cuts(steps, looks, [first] * 5 + [second] * 3) == [Cut(21, "shot")]


def test_another_person_in_the_same_place() -> None:
    first, second = patch_of(astronaut()), patch_of(other_person())
    looks, steps = list(range(0, 40, 5)), [0.0, *[1.0] * 12, 4.0, *[1.0] * 26]
    assert find_cuts(steps, looks, [first] * 3 + [second] * 5) == [Cut(13, "person")]
    # a turn of the head: nothing happened from one frame to the next
    assert find_cuts([0.0, *[1.0] * 39], looks, [first] * 3 + [second] * 5) == []
    # one strange look, and the same person again
    assert find_cuts(steps, looks, [first] * 3 + [second] + [first] * 4) == []


def test_likeness_ignores_place_size_tilt_and_light() -> None:
    picture = astronaut()
    turned = cv2.warpAffine(picture, cv2.getRotationMatrix2D((220, 110), 12, 0.8), (512, 512))
    dimmed = (turned * 0.6 + 30).astype(np.uint8)
    same = alike([patch_of(picture), patch_of(dimmed)], 1)
    other = alike([patch_of(picture), patch_of(other_person())], 1)
    assert same > 0.65 and other < 0.3
    assert alike([patch_of(picture)], 0) == 1.0
