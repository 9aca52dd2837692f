"""A portrait and its landmarks, for the tests of the mesh animator's parts."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import data

from deepfakemnist.animate.mesh.tracking import points_of
from deepfakemnist.faces.landmarks import FaceLandmarker


@pytest.fixture(scope="session")
def picture() -> np.ndarray:
    """NASA's portrait of Eileen Collins, cropped to a square of 256."""
    return np.ascontiguousarray(data.astronaut()[0:256, 96:352])


@pytest.fixture(scope="session")
def landmarks(picture: np.ndarray) -> np.ndarray:
    """Return its landmarks, (478, 3)."""
    face = FaceLandmarker()(picture)
    assert face is not None
    return points_of(face)
