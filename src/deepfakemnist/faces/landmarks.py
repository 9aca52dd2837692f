"""Facial landmarks, blendshapes and head pose with MediaPipe's FaceLandmarker v2 (Google, Apache-2.0).

The networks run in LiteRT, because the mediapipe package needs libEGL and libGL, which clusters lack. YuNet detects the
face, as everywhere in this library; MediaPipe's BlazeFace, also in the file, is not used.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from deepfakemnist.faces.detect import Face, FaceDetector
from deepfakemnist.faces.landmark_geometry import HeadModel, Region
from deepfakemnist.faces.tflite import Network, bundled

#: face_landmarker.task, float16, version 1 of Google's model store.
TASK_SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
#: Outputs of the blendshape network, in order, with ARKit's names. Left and right are the subject's own.
BLENDSHAPES: tuple[str, ...] = (
    "_neutral", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff",
    "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight",
    "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight",
    "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel",
    "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker",
    "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft",
    "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight",
)  # fmt: skip
#: Side of the landmark network's input, pixels.
_SIZE = 256
#: Landmarks in the blendshape network's input (MediaPipe, face_blendshapes_graph.cc).
_BLENDSHAPE_INPUT = [
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67, 70, 78, 80, 81,
    82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146, 148, 149, 150, 152, 153, 154,
    155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249, 251, 263,
    267, 269, 270, 276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314, 317, 318, 321,
    323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382, 384, 385, 386, 387,
    388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466, 468, 469, 470, 471, 472, 473, 474, 475, 476, 477,
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class FaceLandmarks:
    """Landmarks, blendshapes and pose of one face. Left and right are the subject's own."""

    #: (478, 2) float32 x, y in picture pixels, 0 at the centre of the first pixel; may lie outside. MediaPipe mesh: 33
    #: and 263 are the right and left outer eye corner, 1 the nose tip, 152 the chin, 468-477 the irises.
    points: np.ndarray
    #: (52,) float32, 0..1, in the order of ``BLENDSHAPES``.
    blendshapes: np.ndarray
    #: (3,) float32 yaw, pitch, roll in degrees. Positive: the subject turns to their own left, looks down, tilts the
    #: head to their own left shoulder.
    pose: np.ndarray
    #: Confidence of the network that this is a face, 0..1.
    presence: float
    #: (478,) float32 depth of the points in picture pixels, away from the camera; 0 is about that of the brows.
    depth: np.ndarray

    def blendshape(self, name: str) -> float:
        """Return one blendshape by name, e.g. jawOpen."""
        return float(self.blendshapes[BLENDSHAPES.index(name)])


class FaceLandmarker:
    """Landmarks of the best face in a picture, or of one face tracked through a clip; single-threaded.

    Args:
        min_presence: lowest presence that counts as a face, 0..1.
        detector: initial face detector; YuNet with default settings when None.
    """

    def __init__(self, min_presence: float = 0.5, detector: FaceDetector | None = None) -> None:
        self.min_presence = min_presence
        self._detector = detector or FaceDetector()
        parts = _parts()
        self._landmarks = Network(parts["face_landmarks_detector.tflite"])
        self._blendshapes = Network(parts["face_blendshapes.tflite"])
        self._head = head_model()

    def __call__(self, rgb: np.ndarray) -> FaceLandmarks | None:
        """Return the landmarks of the best face of an (H, W, 3) uint8 RGB picture; None when there is none."""
        faces = self._detector(rgb)
        return self.of_face(rgb, faces[0]) if faces else None

    def of_face(self, rgb: np.ndarray, face: Face) -> FaceLandmarks | None:
        """Return the landmarks of a detected face, in pixels of the picture; None when the network sees no face there.

        The network runs twice: on the detector's box, then on the box of the landmarks found there, which is what it
        was trained on. The second pass matters: it changes one blendshape in a hundred by more than 0.19.
        """
        first = self._mesh(rgb, Region.of_face(face))
        return None if first is None else self._landmarks_in(rgb, Region.of_points(first[0][:, :2]))

    def track(self, frames: Iterable[np.ndarray]) -> list[FaceLandmarks | None]:
        """Return the landmarks of one face in every frame of a clip, (H, W, 3) uint8 RGB each; None where it is lost.

        The landmarks of a frame give the region in the next one, which is cheaper than detection and stays with one
        person; when no face is found there, the detector runs again.
        """
        found: list[FaceLandmarks | None] = []
        for rgb in frames:
            last = found[-1] if found else None
            tracked = self._landmarks_in(rgb, Region.of_points(last.points)) if last else None
            found.append(tracked or self(rgb))
        return found

    def points_in(self, rgb: np.ndarray, region: Region) -> tuple[np.ndarray, float]:
        """Return (478, 3) float32 landmarks of a region, x, y and depth in picture pixels, and presence."""
        to_picture = region.to_picture(_SIZE)
        backwards = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        crop = cv2.warpAffine(rgb, to_picture, (_SIZE, _SIZE), flags=backwards, borderMode=cv2.BORDER_REPLICATE)
        mesh, logit, _ = self._landmarks(crop[None].astype(np.float32) / 255)
        points = mesh.reshape(478, 3)
        plane = points[:, :2] @ to_picture[:, :2].T + to_picture[:, 2]
        located = np.column_stack([plane, points[:, 2] * region.side / _SIZE]).astype(np.float32)
        return located, float(1 / (1 + np.exp(-logit.item())))

    def _landmarks_in(self, rgb: np.ndarray, region: Region) -> FaceLandmarks | None:
        """Return landmarks, blendshapes and pose of the face in a region; None without a face."""
        mesh = self._mesh(rgb, region)
        if mesh is None:
            return None
        points, presence = mesh
        plane = points[:, :2]
        (blendshapes,) = self._blendshapes(plane[None, _BLENDSHAPE_INPUT])
        return FaceLandmarks(plane.copy(), blendshapes.copy(), self._head.pose(points), presence, points[:, 2].copy())

    def _mesh(self, rgb: np.ndarray, region: Region) -> tuple[np.ndarray, float] | None:
        """Return the landmarks of a region and their presence; None below the limit."""
        points, presence = self.points_in(rgb, region)
        return None if presence < self.min_presence else (points, presence)


@cache
def head_model() -> HeadModel:
    """Return the canonical face model that the landmarks belong to."""
    return HeadModel(_parts()["geometry_pipeline_metadata_landmarks.binarypb"])


@cache
def _parts() -> dict[str, bytes]:
    """Return the files inside the task file after verifying its checksum."""
    data = bundled("face_landmarker.task", TASK_SHA256)
    with zipfile.ZipFile(io.BytesIO(data)) as task:
        return {name: task.read(name) for name in task.namelist()}
