"""Openness of eyes and lips from facial landmarks, which retargeting and lip normalisation go by.

The original measures it on the 203 points of a landmark network of its own; here it is measured on the project's
landmarks, at the corresponding points. The two networks place lids and lips a little differently, so the original's
retargeting is approached, not reproduced.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepfakemnist.errors import Rejected
from deepfakemnist.faces.landmarks import FaceLandmarks

_EPS = 1e-6


class Opening(NamedTuple):
    """Points between which an opening is measured."""

    upper: int
    lower: int
    corners: tuple[int, int]


@dataclass(frozen=True)
class OpeningIndices:
    """Points of a landmark scheme at eyes and lips."""

    left_eye: Opening
    """Left on the picture, the subject's right eye."""
    right_eye: Opening
    lips: Opening


#: MediaPipe's mesh: middle of the lids, and of the inner lips; corners of the eyes, and of the mouth.
MESH = OpeningIndices(Opening(159, 145, (33, 133)), Opening(386, 374, (362, 263)), Opening(13, 14, (61, 291)))


class Ratios(NamedTuple):
    """Openness of eyes and lips on T pictures."""

    eyes: NDArray[np.float32]
    """(T, 2) height over width of the eye left on the picture, and of the right one."""
    lips: NDArray[np.float32]
    """(T, 1) the same of the lips."""


def openness(points: NDArray[np.floating], indices: OpeningIndices = MESH) -> Ratios:
    """Return the openness by landmarks (T, L, 2)."""
    eyes = [_ratio(points, opening) for opening in (indices.left_eye, indices.right_eye)]
    return Ratios(np.stack(eyes, axis=1), _ratio(points, indices.lips)[:, None])


def openness_of_faces(faces: Sequence[FaceLandmarks | None]) -> Ratios:
    """Return the openness on every picture; one without a face gets that of the nearest before it, or after.

    Raises: Rejected("no_face") if no picture shows a face.
    """
    seen = np.array([index for index, face in enumerate(faces) if face is not None])
    if not len(seen):
        raise Rejected("no_face", "no landmarks of a face, which retargeting of eyes or lips needs")
    nearest = seen[np.maximum(np.searchsorted(seen, np.arange(len(faces)), side="right") - 1, 0)]
    return openness(np.stack([face.points for index in nearest if (face := faces[index]) is not None]))


def _ratio(points: NDArray[np.floating], opening: Opening) -> NDArray[np.float32]:
    height, width = (
        np.linalg.norm(points[:, first] - points[:, second], axis=1)
        for first, second in ((opening.upper, opening.lower), opening.corners)
    )
    return np.asarray(height / (width + _EPS), dtype=np.float32)
