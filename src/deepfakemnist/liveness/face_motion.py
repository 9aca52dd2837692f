"""How a face moves in a clip: head pose, mouth and eyes over time, from five landmarks and three face regions.

Subject's right and left, as the detector has them: the subject's right eye is at the left of the picture. Lengths are
in units of the clip's median distance between the eyes, so that neither resolution nor distance matters.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from deepfakemnist.faces.detect import FaceDetector

#: Side of the aligned face, pixels, and where its landmarks lie: right eye, left eye, nose tip, right and left mouth
#: corner, at the proportions of an average frontal face.
ALIGNED_SIZE = 96
_TEMPLATE = np.array([(32, 38), (64, 38), (48, 56), (35, 74), (61, 74)], dtype=np.float64)
#: An opening mouth must not move the aligned face much, so its corners count less.
_WEIGHTS = np.array([1.0, 1.0, 1.0, 0.3, 0.3])
#: Regions of the aligned face as (left, top, right, bottom): both eyes with their lids, the mouth down to the chin, and
#: cheeks with nose, which only speech and pose move.
_EYES = ((21, 29, 43, 46), (53, 29, 75, 46))
_MOUTH = ((30, 63, 66, 92),)
_REST = ((20, 48, 76, 62), (18, 62, 30, 80), (66, 62, 78, 80))
#: Forehead to chin, where the contrast of a face is taken.
_FACE = (20, 20, 76, 90)
#: Grey levels per pixel of even skin, and grey levels of a face in fog: keep quotients from exploding.
_MIN_GRADIENT, _MIN_CONTRAST = 2.0, 5.0
_SIGNALS = ("roll", "yaw", "pitch", "height", "mouth_width", "eye_mouth", "eye_change", "mouth_change")
#: Makes OpenCV's 3×3 Sobel a gradient per pixel.
_SOBEL_SCALE = 1 / 8


@dataclass(frozen=True)
class FaceMotion:
    """Signals over the looked-at frames that show a face; arrays have one value per such frame."""

    #: Frames looked at, and how many of them showed a face.
    looked: int
    found: int
    #: In-plane tilt of the eye line, degrees. Positive: towards the subject's own left shoulder.
    roll: np.ndarray
    #: Nose tip off the middle of the eyes along the eye line, in eye distances. Positive: subject turns to their left.
    yaw: np.ndarray
    #: Height of the nose tip between eye line (0) and mouth line (1). Grows when the subject looks down.
    pitch: np.ndarray
    #: Height of the middle of eyes and mouth in the picture, in median eye distances. Grows downwards.
    height: np.ndarray
    #: Distance between the mouth corners, in eye distances.
    mouth_width: np.ndarray
    #: Distance from eye line to mouth line, in median eye distances.
    eye_mouth: np.ndarray
    #: Change of eyes and of mouth against the clip's median aligned face, mean grey levels over the face's contrast
    #: (standard deviation), less what misalignment explains: the change of the rest of the face times the quotient of
    #: mean gradients. Open to closed eyes are about 0.5.
    eye_change: np.ndarray
    mouth_change: np.ndarray
    #: Mean grey-level difference of neighbouring looked-at frames, whole picture; 0 in a still photograph.
    flicker: float

    @property
    def found_fraction(self) -> float:
        """Share of looked-at frames that show a face."""
        return self.found / self.looked if self.looked else 0.0


def measure_motion(clip: np.ndarray, detector: FaceDetector, every: int = 1) -> FaceMotion:
    """Measure a clip (T, H, W, 3) uint8 RGB, looking at every ``every``-th frame; nothing is raised without a face."""
    frames = clip[::every]
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    landmarks, aligned = [], []
    for frame, plain in zip(frames, grey, strict=True):
        faces = detector(frame)
        if faces:
            points = np.asarray(faces[0].landmarks, dtype=np.float64)
            landmarks.append(points)
            aligned.append(align(plain, points))
    flicker = float(np.mean([cv2.absdiff(a, b).mean() for a, b in pairwise(grey)] or [0.0]))
    if not landmarks:
        return FaceMotion(len(frames), 0, **dict.fromkeys(_SIGNALS, np.zeros(0)), flicker=flicker)
    signals = _pose(np.stack(landmarks)) | _region_changes(np.stack(aligned))
    return FaceMotion(len(frames), len(landmarks), **signals, flicker=flicker)


def align(grey: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Cut the face upright at a fixed size, by the least-squares similarity from landmarks to template.

    Args:
        grey: (H, W) uint8.
        landmarks: (5, 2) in pixels of ``grey``.

    Returns: (96, 96) uint8; the border of the picture is repeated outside of it.
    """
    # A similarity is one complex factor: minimise Σ weight · |factor · (z − z₀) − (t − t₀)|² about the weighted means.
    z, target = landmarks @ [1, 1j], _TEMPLATE @ [1, 1j]
    z0, target0 = np.average(z, weights=_WEIGHTS), np.average(target, weights=_WEIGHTS)
    factor = np.vdot(_WEIGHTS * (z - z0), target - target0) / np.vdot(_WEIGHTS * (z - z0), z - z0).real
    shift = target0 - factor * z0
    matrix = np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])
    size = (ALIGNED_SIZE, ALIGNED_SIZE)
    return cv2.warpAffine(grey, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _pose(landmarks: np.ndarray) -> dict[str, np.ndarray]:
    """(T, 5, 2) → the signals of FaceMotion that come from landmarks, each (T,)."""
    right_eye, left_eye, nose, right_mouth, left_mouth = np.moveaxis(landmarks, 1, 0)
    across = left_eye - right_eye
    eye_distance = np.linalg.norm(across, axis=1)
    unit = np.median(eye_distance)
    across = across / eye_distance[:, None]
    down = np.stack([-across[:, 1], across[:, 0]], axis=1)
    eyes, mouth = (right_eye + left_eye) / 2, (right_mouth + left_mouth) / 2
    eye_mouth = ((mouth - eyes) * down).sum(1)
    return {
        "roll": np.degrees(np.arctan2(across[:, 1], across[:, 0])),
        "yaw": ((nose - eyes) * across).sum(1) / unit,
        "pitch": ((nose - eyes) * down).sum(1) / eye_mouth,
        "height": (eyes + mouth)[:, 1] / 2 / unit,
        "mouth_width": np.linalg.norm(left_mouth - right_mouth, axis=1) / eye_distance,
        "eye_mouth": eye_mouth / unit,
    }


def _region_changes(aligned: np.ndarray) -> dict[str, np.ndarray]:
    """(T, 96, 96) uint8 → the signals of FaceMotion that come from regions of the face, each (T,)."""
    faces = np.stack([cv2.GaussianBlur(face, (0, 0), 1.0) for face in aligned]).astype(np.float32)
    usual = np.median(faces, axis=0)
    rest = _mask(_REST)
    # Exposure changes move all grey levels together; the rest of the face says by how much.
    faces -= (faces - usual)[:, rest].mean(1)[:, None, None]
    across, down = (cv2.Sobel(usual, cv2.CV_32F, *order, scale=_SOBEL_SCALE) for order in ((1, 0), (0, 1)))
    gradient = np.hypot(across, down)
    change = np.abs(faces - usual)
    left, top, right, bottom = _FACE
    contrast = max(float(usual[top:bottom, left:right].std()), _MIN_CONTRAST)

    def excess(region: np.ndarray) -> np.ndarray:
        texture = max(float(gradient[region].mean()), _MIN_GRADIENT) / max(float(gradient[rest].mean()), _MIN_GRADIENT)
        return (change[:, region].mean(1) - change[:, rest].mean(1) * texture) / contrast

    return {"eye_change": excess(_mask(_EYES)), "mouth_change": excess(_mask(_MOUTH))}


def _mask(boxes: tuple[tuple[int, int, int, int], ...]) -> np.ndarray:
    mask = np.zeros((ALIGNED_SIZE, ALIGNED_SIZE), dtype=bool)
    for left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = True
    return mask
