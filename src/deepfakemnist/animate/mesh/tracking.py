"""Landmark tracks of a clip, filtered without delay: a face that keeps still keeps its points still.

One-euro filter (Casiez et al. 2012), forwards and backwards, and their mean: the delays of both cancel, and fast motion
such as a blink passes nearly unfiltered.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from deepfakemnist.faces.landmark_sets import LEFT_EYE, RIGHT_EYE
from deepfakemnist.faces.landmarks import FaceLandmarks

Points = NDArray[np.float64]

_FPS = 25.0
#: Cutoff of a still point in Hz, the speed up to which a point counts as still, as landmarks tremble, and the increase
#: of the cutoff with speed beyond it; a speed of 1 is an eye distance per second.
_MIN_CUTOFF, _STILL, _PER_SPEED = 0.8, 0.1, 16.0
#: Cutoff for the speed itself, Hz.
_SPEED_CUTOFF = 3.0


def points_of(face: FaceLandmarks) -> Points:
    """Return (478, 3) landmarks: x right, y down, z away from the camera, all in pixels."""
    return np.column_stack([face.points, face.depth]).astype(np.float64)


def filled_track(found: Sequence[FaceLandmarks | None]) -> Points | None:
    """Return (T, 478, 3) landmarks in pixels, interpolated over frames without a face; None when all are."""
    seen = [index for index, face in enumerate(found) if face is not None]
    if not seen:
        return None
    known = np.stack([points_of(face) for face in found if face is not None])
    flat = known.reshape(len(seen), -1)
    filled = np.stack([np.interp(np.arange(len(found)), seen, column) for column in flat.T], axis=1)
    return filled.reshape(len(found), *known.shape[1:])


def filtered(track: Points) -> Points:
    """Return a track (T, K, 3) without tremble; 25 frames per second are assumed."""
    size = np.median(eye_distance(track))
    return (_one_euro(track / size) + _one_euro(track[::-1] / size)[::-1]) / 2 * size


def eye_distance(points: Points) -> Points:
    """Return the distance between the centres of the eyes, (...), of landmarks (..., K, 3)."""
    apart = points[..., RIGHT_EYE, :].mean(axis=-2) - points[..., LEFT_EYE, :].mean(axis=-2)
    return np.asarray(np.linalg.norm(apart, axis=-1))


def _one_euro(track: Points) -> Points:
    """Filter (T, K, 3), in eye distances, forwards in time."""
    out = np.empty_like(track)
    out[0], speed = track[0], np.zeros_like(track[0])
    for index in range(1, len(track)):
        change = (track[index] - out[index - 1]) * _FPS
        speed += _share(_SPEED_CUTOFF) * (change - speed)
        beyond = np.maximum(np.linalg.norm(speed, axis=-1, keepdims=True) - _STILL, 0)
        cutoff = _MIN_CUTOFF + _PER_SPEED * beyond
        out[index] = out[index - 1] + _share(cutoff) * (track[index] - out[index - 1])
    return out


def _share(cutoff: Points | float) -> Points:
    """Return the weight of a new value in a first-order low pass with a cutoff in Hz."""
    return np.asarray(1 / (1 + _FPS / (2 * np.pi * np.asarray(cutoff))))
