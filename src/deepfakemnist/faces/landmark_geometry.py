"""Where the landmark network looks, and how the head stands: squares about a face, and pose from 3-D landmarks."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepfakemnist.faces.detect import Face

#: MediaPipe's graph gives the network the face's box grown by this factor.
_EXPAND = 1.5
#: Outer eye corners, the subject's right and left, in the 478-point mesh.
_RIGHT_EYE, _LEFT_EYE = 33, 263


@dataclass(frozen=True)
class Region:
    """A square about a face, turned with it: centre (x, y) and side in pixels, angle in radians, clockwise as seen."""

    centre: tuple[float, float]
    side: float
    angle: float

    @classmethod
    def of_face(cls, face: Face) -> Region:
        """Return the region about a detected face: its box, upright by its eyes."""
        left, top, width, height = face.box
        right_eye, left_eye = face.landmarks[:2]
        return cls((left + width / 2, top + height / 2), _EXPAND * max(width, height), _angle(right_eye, left_eye))

    @classmethod
    def of_points(cls, points: np.ndarray) -> Region:
        """Return the region about (478, 2) landmarks in pixels: their box, upright by the outer eye corners."""
        low, high = points.min(axis=0), points.max(axis=0)
        x, y = (low + high) / 2
        return cls(
            (float(x), float(y)), _EXPAND * float((high - low).max()), _angle(points[_RIGHT_EYE], points[_LEFT_EYE])
        )

    def to_picture(self, size: int) -> np.ndarray:
        """Return the (2, 3) affine matrix from a crop of ``size`` × ``size`` pixels to the picture."""
        scale = self.side / size
        cos, sin = scale * math.cos(self.angle), scale * math.sin(self.angle)
        x, y = self.centre
        half = size / 2
        return np.array([[cos, -sin, x - (cos - sin) * half], [sin, cos, y - (sin + cos) * half]])


def _angle(right_eye: np.ndarray, left_eye: np.ndarray) -> float:
    x, y = left_eye - right_eye
    return math.atan2(float(y), float(x))


class HeadModel:
    """The average face that head pose is measured against, out of MediaPipe's geometry metadata.

    Pose is the rotation of the weighted orthogonal Procrustes fit (Kabsch 1976) of the average face onto the landmarks,
    with the landmarks' own depth: a weak-perspective camera. MediaPipe itself assumes a camera of 63° vertical view
    around the whole picture, which is wrong for a clip that was cropped to the face, and a perspective-n-point
    solution without the depth has two minima for a nearly frontal face.

    Args:
        metadata: ``geometry_pipeline_metadata_landmarks.binarypb``, a GeometryPipelineMetadata message of MediaPipe:
            field 1 the mesh (its field 3: x, y, z, u, v of 468 vertices), field 2, repeated, landmark and weight.
    """

    def __init__(self, metadata: bytes) -> None:
        fields = list(_fields(metadata))
        mesh = next(value for number, value in fields if number == 1)
        floats = [struct.unpack("<f", value)[0] for number, value in _fields(mesh) if number == 3]
        basis = [dict(_fields(value)) for number, value in fields if number == 2]
        self._landmarks = np.array([entry[1] for entry in basis])
        self._weights = np.array([struct.unpack("<f", entry[2])[0] for entry in basis])
        self._weights /= self._weights.sum()
        model = np.array(floats).reshape(-1, 5)[self._landmarks, :3]
        self._model = model - self._weights @ model

    def pose(self, points: np.ndarray) -> np.ndarray:
        """Return (3,) float32 yaw, pitch, roll in degrees of (478, 3) landmarks: x right, y down, z away, one unit.

        Positive is: yaw, the subject turns to their own left; pitch, they look down; roll, they tilt the head to their
        own left shoulder. The head nods first, about the line from ear to ear, then turns about the vertical, then
        tilts about the line of sight, so that turning a picture changes roll alone.
        """
        seen = points[self._landmarks] * [1, -1, -1]
        seen = seen - self._weights @ seen
        u, _, vt = np.linalg.svd((seen * self._weights[:, None]).T @ self._model)
        u[:, 2] *= np.linalg.det(u @ vt)  # a rotation, never a mirror image
        rotation = u @ vt
        yaw = math.asin(max(-1.0, min(1.0, -rotation[2, 0])))
        pitch = math.atan2(rotation[2, 1], rotation[2, 2])
        roll = -math.atan2(rotation[1, 0], rotation[0, 0])
        return np.degrees(np.array([yaw, pitch, roll], dtype=np.float32))


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Yield number and value of every field of a protobuf message: varints as int, everything else as bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        match key & 7:
            case 0:
                value, at = _varint(message, at)
                yield key >> 3, value
            case 2:
                length, at = _varint(message, at)
                yield key >> 3, message[at : at + length]
                at += length
            case 5:
                yield key >> 3, message[at : at + 4]
                at += 4
            case kind:
                raise ValueError(f"protobuf wire type {kind} at byte {at}; 0, 2 and 5 are expected")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at, value, shift = at + 1, value | (byte & 127) << shift, shift + 7
        if byte < 128:
            return value, at
