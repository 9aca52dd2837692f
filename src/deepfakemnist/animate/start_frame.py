"""Start frame of relative motion: the driver frame that corresponds to the source picture.

``best`` is ``--find_best_frame`` of FOMM, the one whose pose is closest to the source's: landmarks are centred, divided
by the square root of the area of their convex hull, and compared by squared distance. The demo animates forwards
and backwards from that frame, which equals taking the motion of every frame relative to it, because relative motion
depends on these two frames only.

``neutral`` is chosen as the best frame of a source is (``faces/source_frame.py``): eyes open, mouth closed, frontal,
neutral and sharp. What the driver does in its own first frame is then part of the performance: a driver who begins with
an open mouth opens that of the fake, and no fake begins with the picture of its source.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError

from deepfakemnist.animate.protocol import Motion, MotionArray
from deepfakemnist.config.animators.base import StartFrame
from deepfakemnist.errors import Failed
from deepfakemnist.faces.landmark_sets import FACE_LINES
from deepfakemnist.faces.landmarks import FaceLandmarker, FaceLandmarks
from deepfakemnist.faces.source_frame import face_state, score_frames

log = logging.getLogger(__name__)

#: Names of :func:`neutrality` and of :func:`face_lines` in the arrays of a motion.
NEUTRALITY, POSE = "neutrality", "pose"
#: What a motion has for its start frame, with either.
START_ARRAYS = {
    NEUTRALITY: MotionArray((), required=False),
    POSE: MotionArray((len(FACE_LINES), 2), required=False),
}


class StartFrames:
    """Chooses the driver frame that relative motion starts from.

    Args:
        choice: ``first``; ``best``: the frame whose pose is closest to the source's; ``neutral``: the driver's most
            neutral frame.
    """

    def __init__(self, choice: StartFrame) -> None:
        self._choice = choice
        self._landmarker = FaceLandmarker() if choice != "first" else None

    def of_driver(self, frames: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """Return what the motion of the driving frames (T, H, W, 3), RGB, needs for the choice."""
        if self._landmarker is None:
            return {}
        faces = self._landmarker.track(frames)
        if self._choice == "neutral":
            return {NEUTRALITY: neutrality(frames, faces)}
        height, width = frames.shape[1:3]
        return {POSE: np.stack([face_lines(face, width, height) for face in faces])}

    def of_source(self, frame: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        """Return the pose (L, 2) of the source (H, W, 3), RGB; None if the choice needs none."""
        if self._landmarker is None or self._choice != "best":
            return None
        height, width = frame.shape[:2]
        return face_lines(self._landmarker.track(frame[None])[0], width, height)

    def choose(self, pose: NDArray[np.float32] | None, motion: Motion) -> int:
        """Return the start frame of a source with this pose; 0, and a warning, if there are no faces to compare.

        Raises: Failed("motion_without_pose") when source or motion were prepared for another choice.
        """
        if self._choice == "first":
            return 0
        if self._choice == "neutral":
            return neutral_start(motion)
        if POSE not in motion or pose is None:
            missing = "motion" if POSE not in motion else "source"
            raise Failed("motion_without_pose", f"the {missing} has no poses for start_frame: best; prepare it again")
        start = best_start(pose, motion[POSE])
        if start is None:
            log.warning("no face to compare poses by; relative motion starts from the driver's first frame")
        return start or 0


def face_lines(found: FaceLandmarks | None, width: int, height: int) -> NDArray[np.float32]:
    """Return the points (L, 2) of ``FACE_LINES``, image borders at -1 and 1; NaN without a face."""
    if found is None:
        return np.full((len(FACE_LINES), 2), np.nan, dtype=np.float32)
    scaled: NDArray[np.float32] = (2 * (found.points[list(FACE_LINES)] + 0.5) / (width, height) - 1).astype(np.float32)
    return scaled


def neutrality(frames: NDArray[np.uint8], faces: Sequence[FaceLandmarks | None]) -> NDArray[np.float32]:
    """Return how neutral each frame (T, H, W, 3), RGB, is, (T,) in 0..1; 0 without a face.

    In steps of 0.02, so that all processors choose the same frame.
    """
    states = {
        index: face_state(frame, face)
        for index, (frame, face) in enumerate(zip(frames, faces, strict=True))
        if face is not None
    }
    scores = np.zeros(len(frames), np.float32)
    if states:
        scores[list(states)] = [score.total for score in score_frames(list(states.values()))]
    return scores


def neutral_start(motion: Motion) -> int:
    """Return the most neutral driver frame, the first of equals, of a motion.

    Raises: Failed("motion_without_pose") when the motion was prepared for another start frame.
    """
    if NEUTRALITY not in motion:
        raise Failed("motion_without_pose", "the motion was not prepared with start_frame: neutral; prepare it again")
    return int(np.argmax(motion[NEUTRALITY]))


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
