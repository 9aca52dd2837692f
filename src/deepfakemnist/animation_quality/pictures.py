"""What an animation does to the picture: who is seen, how sharp, and how near to the truth where there is one."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from deepfakemnist.faces.identity import similarity
from deepfakemnist.faces.landmarks import FaceLandmarks

#: A clip: (T, H, W, 3) uint8 RGB, or its frames one by one.
Frames = Sequence[np.ndarray] | np.ndarray

#: Outer eye corners in MediaPipe's mesh; their distance is the unit of landmark errors.
_EYE_CORNERS = [33, 263]


def identity_kept(results: Sequence[np.ndarray], source: np.ndarray, others: np.ndarray) -> float:
    """Return how much of the source person an animation keeps: 1 all, 0 no more than any other person has.

    That is (s − o) / (1 − o) with s the mean ``similarity`` of the result's frames to the source and o that of other
    people to the source, so a source with an average face, whom everybody resembles, is not rated higher. Frames of
    one real clip score about 0.65 rather than 1, because pose and expression change an embedding too; below 0 the
    result looks like somebody else. NaN without a result or without other people.

    Args:
        results: (128,) embeddings of frames of the result.
        source: (128,) embedding of the source frame.
        others: (N, 128) embeddings of people who are not the source, one or more of each.
    """
    if not results or len(others) == 0:
        return float("nan")
    to_source = float(np.mean([similarity(result, source) for result in results]))
    by_chance = float(np.mean([similarity(other, source) for other in others]))
    return (to_source - by_chance) / (1 - by_chance)


def sharpness(rgb: np.ndarray, face: FaceLandmarks) -> float:
    """Return the variance of the Laplacian of the luma in the box of the landmarks; NaN when it is outside."""
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
    """Return the median sharpness of the result's faces over that of the source's: 1 as sharp, below 1 blurred.

    Faces are compared as they are: scaling them to one size would blur one side only. NaN without faces.

    Args:
        results: T frames, (H, W, 3) uint8 RGB each.
        result_faces: landmarks of those frames; None where there is no face.
        source, source_face: the animated picture, of the same size, and its landmarks.
    """
    measured = [sharpness(frame, face) for frame, face in zip(results, result_faces, strict=True) if face is not None]
    if source_face is None or not np.isfinite(measured).any():
        return float("nan")
    before = sharpness(source, source_face)
    return float(np.nanmedian(measured)) / before if before > 0 else float("nan")


def reconstruction_l1(results: Frames, truth: Frames) -> float:
    """Return the mean absolute difference of two clips, 0..1 over all pixels and channels, as FOMM reports it.

    For reconstructions: the first frame of a held-out clip, animated by that clip. Raises ValueError for clips that are
    not of one size and length.
    """
    if len(results) != len(truth) or not len(results):
        raise ValueError(f"clips of one length are compared, not of {len(results)} and {len(truth)} frames")
    errors = []
    for result, true in zip(results, truth, strict=True):
        if result.shape != true.shape:
            raise ValueError(f"frames of one size are compared, not {result.shape} and {true.shape}")
        errors.append(cv2.absdiff(result, true).mean() / 255)
    return float(np.mean(errors))


def keypoint_error(results: Sequence[FaceLandmarks | None], truth: Sequence[FaceLandmarks | None]) -> float:
    """Return the mean distance of landmarks, as a share of the true face's distance between the outer eye corners.

    FOMM's average keypoint distance, in the unit of the landmark literature, so that it does not depend on the size of
    the face. Over frames that show both faces; NaN when there are none.
    """
    errors = []
    for result, true in zip(results, truth, strict=True):
        if result is not None and true is not None:
            right, left = true.points[_EYE_CORNERS]
            unit = np.linalg.norm(left - right)
            errors.append(np.linalg.norm(result.points - true.points, axis=1).mean() / unit)
    return float(np.mean(errors)) if errors else float("nan")
