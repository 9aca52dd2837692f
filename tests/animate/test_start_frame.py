"""Start frame of relative motion, by landmarks."""

import numpy as np
from skimage import data

from deepfakemnist.animate.start_frame import best_start, face_lines, neutral_start, neutrality
from deepfakemnist.faces.landmark_sets import FACE_LINES
from deepfakemnist.faces.landmarks import FaceLandmarker


def test_best_start_skips_frames_without_a_face():
    line = np.linspace(0, 1, 2 * len(FACE_LINES), dtype=np.float32).reshape(-1, 2)
    face = np.random.default_rng(0).normal(size=(len(FACE_LINES), 2)).astype(np.float32)
    none = face_lines(None, 256, 256)
    assert best_start(none, face[None]) is None
    assert best_start(face, np.stack([none, none])) is None
    assert best_start(face, np.stack([none, face])) == 1
    assert best_start(face, np.stack([line, 3 * face + 0.4])) == 1, "position and size do not matter"


def test_neutrality_is_zero_without_a_face_and_the_first_of_equals_is_chosen():
    frame = np.ascontiguousarray(data.astronaut()[0:256, 96:352])
    face = FaceLandmarker()(frame)
    scores = neutrality(np.stack([frame] * 3), [None, face, face])
    assert scores.dtype == np.float32 and scores[0] == 0 < scores[1] == scores[2]
    assert neutral_start({"neutrality": scores}) == 1
    assert neutral_start({"neutrality": neutrality(frame[None], [None])}) == 0
