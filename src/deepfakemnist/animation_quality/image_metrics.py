"""Image metrics of animations: identity preservation, sharpness, and reconstruction error with ground truth."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from deepfakemnist.faces.identity import similarity
from deepfakemnist.faces.landmark_sets import OUTER_EYE_CORNERS
from deepfakemnist.faces.landmarks import FaceLandmarks

#: A clip: (T, H, W, 3) uint8 RGB, or a sequence of frames.
Frames = Sequence[np.ndarray] | np.ndarray


def identity_kept(results: Sequence[np.ndarray], source: np.ndarray, others: np.ndarray) -> float:
    """Return the identity preservation of an animation: 1 perfect, 0 chance level.

    This is (s − o) / (1 − o) with s the mean ``similarity`` of result frames to the source and o that of other people
    to the source; the normalisation keeps sources with an average face, similar to everybody, from scoring higher.
    Frames of one real clip score about 0.7 rather than 1, because pose and expression change an embedding, too; below
    0 the result looks like somebody else. NaN without a result or without other people.

    Args:
        results: (128,) embeddings of result frames.
        source: (128,) embedding of the source frame.
        others: (N, 128) embeddings of people other than the source, one or more of each.
    """
    if not results or len(others) == 0:
        return float("nan")
    to_source = float(np.mean([similarity(result, source) for result in results]))
    by_chance = float(np.mean([similarity(other, source) for other in others]))
    return (to_source - by_chance) / (1 - by_chance)


def sharpness(rgb: np.ndarray, face: FaceLandmarks) -> float:
    """Return the variance of the Laplacian of the luma in the box of the landmarks; NaN for a box outside the image."""
    height, width = rgb.shape[:2]
    left, top = np.clip(np.floor(face.points.min(axis=0)).astype(int), 0, (width, height))
    right, bottom = np.clip(np.ceil(face.points.max(axis=0)).astype(int), 0, (width, height))
    if right - left < 2 or bottom - top < 2:
        return float("nan")
    luma = cv2.cvtColor(rgb[top:bottom, left:right], cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(luma, cv2.CV_64F).var())


def sharpness_ratio(
    results: Frames,
    result_faces: Sequence[FaceLandmarks | None],
    source: np.ndarray,
    source_face: FaceLandmarks | None,
) -> float:
    """Return the median sharpness of the result's faces relative to the source's: 1 equal, below 1 blurred.

    Faces are not rescaled to a common size, which would blur only one of them. NaN without faces.

    Args:
        results: T frames, (H, W, 3) uint8 RGB each.
        result_faces: landmarks of these frames; None without a face.
        source, source_face: the source image, of the same size, and its landmarks.
    """
    measured = [sharpness(frame, face) for frame, face in zip(results, result_faces, strict=True) if face is not None]
    if source_face is None or not np.isfinite(measured).any():
        return float("nan")
    before = sharpness(source, source_face)
    return float(np.nanmedian(measured)) / before if before > 0 else float("nan")


def reconstruction_l1(results: Frames, truth: Frames) -> float:
    """Return the L1 distance of two clips, 0..1, averaged over all pixels and channels, as reported by FOMM.

    For self-reenactment: the first frame of a held-out clip, animated by that clip. Raises ValueError for clips that
    differ in size or length.
    """
    if len(results) != len(truth) or not len(results):
        raise ValueError(f"clips must be equally long, but have {len(results)} and {len(truth)} frames")
    errors = []
    for result, true in zip(results, truth, strict=True):
        if result.shape != true.shape:
            raise ValueError(f"frames must have equal shapes, not {result.shape} and {true.shape}")
        errors.append(cv2.absdiff(result, true).mean() / 255)
    return float(np.mean(errors))


def keypoint_error(results: Sequence[FaceLandmarks | None], truth: Sequence[FaceLandmarks | None]) -> float:
    """Return the mean landmark error, normalised by the true distance between the outer eye corners.

    FOMM's average keypoint distance (AKD) in the unit of the landmark literature, which makes it independent of face
    size. Averaged over frames that show both faces; NaN if there are none.
    """
    errors = []
    for result, true in zip(results, truth, strict=True):
        if result is not None and true is not None:
            right, left = true.points[list(OUTER_EYE_CORNERS)]
            unit = np.linalg.norm(left - right)
            errors.append(np.linalg.norm(result.points - true.points, axis=1).mean() / unit)
    return float(np.mean(errors)) if errors else float("nan")
