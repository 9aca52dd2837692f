"""Stability of facial landmarks: how far they move when the network sees the same frame mirrored, turned and shifted.

On a face, the views agree within 2 % of the distance between the eyes. Where an outline is torn, doubled or melted, the
network has nothing to hold on to, and they do not. That needs neither a reference picture nor small motion.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from deepfakemnist.faces.landmark_geometry import Region
from deepfakemnist.faces.landmark_sets import OUTER_EYE_CORNERS
from deepfakemnist.faces.landmarks import FaceLandmarker, FaceLandmarks, head_model

#: Views besides the mirrored one: rotation in degrees, factor on the side of the region, shift as a fraction of it.
#: They stay within what the network's own tracking varies by.
_VIEWS = ((12.0, 1.1, 0.0), (-6.0, 0.95, 0.06))


def landmark_instability(landmarker: FaceLandmarker, rgb: np.ndarray, face: FaceLandmarks) -> NDArray[np.float32]:
    """Return the mean distance (468,) of every landmark to those of three other views, in units of the eye distance.

    Args:
        landmarker: the network.
        rgb: (H, W, 3) uint8.
        face: the landmarks of this frame.
    """
    region = Region.of_points(face.points)
    x, y = region.centre
    views = [_mirrored(landmarker, rgb, region)]
    for turn, scale, shift in _VIEWS:
        centre = (x + shift * region.side, y - shift * region.side)
        view = Region(centre, region.side * scale, region.angle + math.radians(turn))
        views.append(landmarker.points_in(rgb, view)[0])
    unit = np.linalg.norm(np.subtract(*face.points[list(OUTER_EYE_CORNERS)]))
    distances = [np.linalg.norm(points[:468, :2] - face.points[:468], axis=1) for points in views]
    return np.asarray(np.mean(distances, axis=0) / unit, np.float32)


def _mirrored(landmarker: FaceLandmarker, rgb: np.ndarray, region: Region) -> NDArray[np.float32]:
    """Return the landmarks (468, 3) of the mirrored frame, mirrored back."""
    right = rgb.shape[1] - 1
    view = Region((right - region.centre[0], region.centre[1]), region.side, -region.angle)
    points = landmarker.points_in(np.ascontiguousarray(rgb[:, ::-1]), view)[0][counterparts()]
    points[:, 0] = right - points[:, 0]
    return points


@cache
def counterparts() -> NDArray[np.intp]:
    """Return the index (468,) of the counterpart of each landmark on the other side of the face."""
    vertices = head_model().vertices
    return ((vertices[:, None] * [-1, 1, 1] - vertices) ** 2).sum(axis=2).argmin(axis=1)
