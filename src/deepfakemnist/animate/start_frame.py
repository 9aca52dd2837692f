"""Which frame of a driver relative movement starts from: the one whose pose is nearest the source's.

FOMM's ``--find_best_frame``: landmarks are centred and divided by the root of their hull's area, then compared by their
summed squared distance. Forwards and backwards from that frame, as its demo animates, is the same as taking every
frame's movement relative to that frame: the movement of a frame depends on nothing but the two.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError

from deepfakemnist.faces.landmark_sets import FACE_LINES
from deepfakemnist.faces.landmarks import FaceLandmarks


def face_lines(found: FaceLandmarks | None, width: int, height: int) -> NDArray[np.float32]:
    """Return the points (L, 2) of ``FACE_LINES`` with the picture's sides at -1 and 1; NaN where there is no face."""
    if found is None:
        return np.full((len(FACE_LINES), 2), np.nan, dtype=np.float32)
    scaled: NDArray[np.float32] = (2 * (found.points[list(FACE_LINES)] + 0.5) / (width, height) - 1).astype(np.float32)
    return scaled


def best_start(source: NDArray[np.float32], driver: NDArray[np.float32]) -> int | None:
    """Return the driver frame whose landmarks (T, L, 2) are most like the source's (L, 2).

    None when the source or every driver frame shows no face; other frames without one are passed over.
    """
    wanted = _normalised(source)
    if wanted is None:
        return None
    distances = np.full(len(driver), np.inf)
    for index, landmarks in enumerate(driver):
        candidate = _normalised(landmarks)
        if candidate is not None:
            distances[index] = np.square(candidate - wanted).sum()
    best = int(np.argmin(distances))
    return best if np.isfinite(distances[best]) else None


def _normalised(landmarks: NDArray[np.float32]) -> NDArray[np.float64] | None:
    if not np.isfinite(landmarks).all():
        return None
    centred = landmarks.astype(np.float64) - landmarks.mean(axis=0)
    try:
        area = ConvexHull(centred).volume  # in two dimensions scipy calls the area a volume
    except QhullError:  # all points on a line: no face
        return None
    normalised: NDArray[np.float64] = centred / np.sqrt(area)
    return normalised
