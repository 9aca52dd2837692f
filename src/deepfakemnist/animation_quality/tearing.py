"""Tearing of an animation: an outline of the face that is torn, folded, bulging or melted, in its worst frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deepfakemnist.animation_quality.image_metrics import Frames
from deepfakemnist.faces.landmark_geometry import rigid_fit
from deepfakemnist.faces.landmark_sets import OUTER_EYE_CORNERS, OVAL
from deepfakemnist.faces.landmark_stability import landmark_instability
from deepfakemnist.faces.landmarks import FaceLandmarker, FaceLandmarks, head_model

_OVAL = list(OVAL)
#: From ear to ear over the forehead. Moves with the skull, whereas an opening mouth moves the rest of the outline.
_UPPER = [*_OVAL[:9], *_OVAL[-8:]]
#: Evenly spaced frames to measure; each costs three passes of the landmark network.
_FRAMES = 16
#: Weight of the change of shape, whose spread between clips is five times as wide.
_SHAPE_WEIGHT = 0.2


def tearing(
    results: Frames,
    result_faces: Sequence[FaceLandmarks | None],
    source: np.ndarray,
    source_face: FaceLandmarks | None,
    landmarker: FaceLandmarker,
) -> float:
    """Return how torn the outline of the face is in the worst frame, in percent of the eye distance.

    Instability of the outline's landmarks (see ``landmark_instability``) beyond that in the source, plus a fifth of the
    change of the forehead's outline once head motion is removed. Both hardly depend on motion: real clips, against
    their first frame, score about as low as fakes that look clean (figures: config/README.md). An eye remembers the
    worst frame, and so does the maximum, which agrees with labels by eye better than percentiles. Not seen: tears away
    from the outline, such as a melted mouth, and bent backgrounds. NaN without a face.

    Args:
        results: T frames, (H, W, 3) uint8 RGB each.
        result_faces: landmarks of these frames; None without a face.
        source, source_face: the source image and its landmarks.
        landmarker: the network that found them.
    """
    seen = [(frame, face) for frame, face in zip(results, result_faces, strict=True) if face is not None]
    if source_face is None or not seen:
        return float("nan")
    chosen = np.unique(np.linspace(0, len(seen) - 1, min(len(seen), _FRAMES)).round().astype(int))
    before = _instability(landmarker, source, source_face)
    scores = [
        _instability(landmarker, frame, face) - before + _SHAPE_WEIGHT * _change_of_shape(face, source_face)
        for frame, face in (seen[index] for index in chosen)
    ]
    return 100 * max(scores)


def _instability(landmarker: FaceLandmarker, rgb: np.ndarray, face: FaceLandmarks) -> float:
    return float(landmark_instability(landmarker, rgb, face)[_OVAL].mean())


def _change_of_shape(face: FaceLandmarks, source: FaceLandmarks) -> float:
    """Return the RMS distance of the forehead's outline after a rigid fit, as a fraction of the eye distance."""
    model = head_model()
    after, before = (np.column_stack([one.points, one.depth]).astype(float) for one in (face, source))
    scale, rotation = rigid_fit(before[model.stable], after[model.stable], model.weights)
    centre_after, centre_before = (model.weights @ points[model.stable] for points in (after, before))
    aligned = (after[_UPPER] - centre_after) @ rotation / scale + centre_before
    squares = ((aligned - before[_UPPER])[:, :2] ** 2).sum(axis=1)
    return float(np.sqrt(squares.mean()) / np.linalg.norm(np.subtract(*before[list(OUTER_EYE_CORNERS), :2])))
