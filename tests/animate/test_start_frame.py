"""Start frame of relative motion, by landmarks."""

import numpy as np

from deepfakemnist.animate.start_frame import best_start, face_lines
from deepfakemnist.faces.landmark_sets import FACE_LINES


def test_best_start_skips_frames_without_a_face():
    line = np.linspace(0, 1, 2 * len(FACE_LINES), dtype=np.float32).reshape(-1, 2)
    face = np.random.default_rng(0).normal(size=(len(FACE_LINES), 2)).astype(np.float32)
    none = face_lines(None, 256, 256)
    assert best_start(none, face[None]) is None
    assert best_start(face, np.stack([none, none])) is None
    assert best_start(face, np.stack([none, face])) == 1
    assert best_start(face, np.stack([line, 3 * face + 0.4])) == 1, "position and size do not matter"
