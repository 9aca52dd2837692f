import numpy as np
from skimage import data

from deepfakemnist.faces.landmark_sets import NOSE
from deepfakemnist.faces.landmarks import FaceLandmarker
from deepfakemnist.faces.person_mask import PersonMask


def test_a_person_is_told_from_the_background() -> None:
    picture = np.ascontiguousarray(data.astronaut()[0:300, 70:370])
    mask = PersonMask()(picture)
    assert mask.shape == (300, 300) and mask.dtype == np.float32
    assert mask.min() >= 0 and mask.max() <= 1
    face = FaceLandmarker()(picture)
    assert face is not None
    inside = face.points[list(NOSE)].round().astype(int)
    assert mask[inside[:, 1], inside[:, 0]].min() > 0.9
    assert mask[5:60, 5:40].max() < 0.3, "the flag behind her"


def test_nobody_is_found_in_a_picture_without_people() -> None:
    assert PersonMask()(np.full((256, 256, 3), 120, np.uint8)).mean() < 0.2
