"""Start frame of relative motion: the driver frame whose pose is closest to the source's.

FOMM's ``--find_best_frame``: landmarks are centred, divided by the square root of the area of their convex hull, and
compared by summed squared distance. The demo animates forwards and backwards from that frame, which equals taking the
motion of every frame relative to it, because relative motion depends on these two frames only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError

from deepfakemnist.faces.landmark_sets import FACE_LINES
from deepfakemnist.faces.landmarks import FaceLandmarks


def face_lines(found: FaceLandmarks | None, width: int, height: int) -> NDArray[np.float32]:
    """Return the points (L, 2) of ``FACE_LINES``, image borders at -1 and 1; NaN without a face."""
    if found is None:
        return np.full((len(FACE_LINES), 2), np.nan, dtype=np.float32)
    scaled: NDArray[np.float32] = (2 * (found.points[list(FACE_LINES)] + 0.5) / (width, height) - 1).astype(np.float32)
    return scaled


def best_start(source: NDArray[np.float32], driver: NDArray[np.float32]) -> int | None:
    """Return the driver frame whose landmarks (T, L, 2) are closest to the source's (L, 2).

    Frames without a face are skipped. None when the source or all driver frames have none.
    """
    target = _normalised(source)
    if target is None:
        return None
    distances = np.full(len(driver), np.inf)
    for index, landmarks in enumerate(driver):
        candidate = _normalised(landmarks)
        if candidate is not None:
            distances[index] = np.square(candidate - target).sum()
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
