"""Tearing of clean clips of actors, and of the same clips torn, folded and doubled by hand."""

from __future__ import annotations

from math import isnan

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from deepfakemnist.actors import Actor, Framing, load_bank, perform
from deepfakemnist.animation_quality.tearing import tearing
from deepfakemnist.faces.landmarks import FaceLandmarker

FRAMES = 16
#: Suggested limit, config/README.md.
LIMIT = 2.0


@pytest.fixture(scope="module")
def landmarker() -> FaceLandmarker:
    return FaceLandmarker()


@pytest.fixture(scope="module")
def clips() -> dict[str, np.ndarray]:
    """Clips of 256 × 256 pixels: the head turns by up to 30 degrees, nods, tilts, or stays while the mouth opens."""
    bank = load_bank()
    cast = {"yaw": (4, 4), "nod": (9, 9), "mouth": (14, 2), "left_slope": (7, 1)}
    framing = Framing(eyes_y=0.44, head=0.75)
    return {
        action: perform(Actor(bank, head, seed=seed), action, 3, FRAMES, framing=framing).clip()
        for action, (head, seed) in cast.items()
    }


def slid(frame: np.ndarray) -> np.ndarray:
    """Return a frame whose right half has slid down."""
    result = frame.copy()
    result[:, 128:] = np.roll(frame, 14, axis=0)[:, 128:]
    return result


def folded(frame: np.ndarray) -> np.ndarray:
    """Return a frame that folds over itself at the jaw."""
    y, x = np.mgrid[:256, :256].astype(np.float32)
    moved = x + 40 * np.exp(-((x - 170) ** 2 + (y - 170) ** 2) / 1500)
    return cv2.remap(frame, moved, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def doubled(frame: np.ndarray) -> np.ndarray:
    """Return a frame with a second outline beside the first."""
    return ((frame.astype(int) + np.roll(frame, 18, axis=1)) // 2).astype(np.uint8)


def measure(landmarker: FaceLandmarker, clip: list[np.ndarray]) -> float:
    return tearing(clip, landmarker.track(clip), clip[0], landmarker(clip[0]), landmarker)


@pytest.mark.slow
@pytest.mark.parametrize("action", ["yaw", "nod", "mouth", "left_slope"])
def test_motion_is_no_tear_but_a_torn_end_of_the_same_clip_is(landmarker, clips, action):
    clip = list(clips[action])
    clean = measure(landmarker, clip)
    assert clean < LIMIT
    for tear in (slid, folded, doubled):
        torn = measure(landmarker, [*clip[: FRAMES - 4], *map(tear, clip[FRAMES - 4 :])])
        assert torn > clean + 0.4, tear.__name__


@pytest.mark.slow
def test_blur_and_another_size_are_no_tears(landmarker, clips):
    clip = list(clips["mouth"])
    blurred = [cv2.GaussianBlur(frame, (0, 0), 1.5) for frame in clip]
    small = [cv2.resize(frame, (128, 128), interpolation=cv2.INTER_AREA) for frame in clip]
    for changed in (blurred, small):
        assert measure(landmarker, changed) < LIMIT


@pytest.mark.slow
def test_one_torn_frame_of_sixteen_counts_and_those_without_a_face_do_not(landmarker, clips):
    clip = list(clips["nod"])
    clean = measure(landmarker, clip)
    assert measure(landmarker, [*clip[:5], folded(clip[5]), *clip[6:]]) > clean + 0.4
    sky = np.full_like(clip[0], 120)
    assert measure(landmarker, [*clip[:8], *[sky] * 8]) <= clean + 0.4


def test_nothing_is_measured_without_a_face(landmarker):
    portrait = cv2.resize(astronaut()[:230, 110:340], (256, 256), interpolation=cv2.INTER_AREA)
    face, sky = landmarker(portrait), np.full_like(portrait, 120)
    assert isnan(tearing([sky, sky], [None, None], portrait, face, landmarker))
    assert isnan(tearing([portrait], [face], sky, None, landmarker))
    assert isnan(tearing([], [], portrait, face, landmarker))
    assert tearing([portrait], [face], portrait, face, landmarker) == pytest.approx(0, abs=1e-6)
