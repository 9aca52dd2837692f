"""Face regions for the landmark network, and head pose from 3-D landmarks."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepfakemnist.faces.detect import Face

#: MediaPipe's graph enlarges the face box by this factor for the network's input.
_EXPAND = 1.5
#: Outer eye corners, the subject's right and left, in the 478-point mesh.
_RIGHT_EYE, _LEFT_EYE = 33, 263


@dataclass(frozen=True)
class Region:
    """A rotated square around a face: centre (x, y) and side in pixels, angle in radians, clockwise in the picture."""

    centre: tuple[float, float]
    side: float
    angle: float

    @classmethod
    def of_face(cls, face: Face) -> Region:
        """Return the region around a detected face: its enlarged box, rotated by the eye line."""
        left, top, width, height = face.box
        right_eye, left_eye = face.landmarks[:2]
        return cls((left + width / 2, top + height / 2), _EXPAND * max(width, height), _angle(right_eye, left_eye))

    @classmethod
    def of_points(cls, points: np.ndarray) -> Region:
        """Return the region around (478, 2) landmarks in pixels: their enlarged box, rotated by the eye line."""
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
    """The canonical face model of MediaPipe's geometry metadata, the reference for head pose.

    Pose is the rotation of the weighted orthogonal Procrustes fit (Kabsch 1976) of the canonical face to the landmarks,
    depth included: a weak-perspective camera. MediaPipe assumes a camera with 63° vertical field of view over the
    whole picture, which is wrong for a clip cropped to the face, and a perspective-n-point solution without depth has
    two minima for a nearly frontal face.

    Args:
        metadata: ``geometry_pipeline_metadata_landmarks.binarypb``, a GeometryPipelineMetadata message of MediaPipe:
            field 1 the mesh (its field 3: x, y, z, u, v of 468 vertices; its field 4: triangles), field 2, repeated,
            landmark and weight.

    Attributes:
        vertices: (468, 3) canonical face in cm: x to the subject's left, y up, z towards the camera.
        triangles: (898, 3) vertex indices, counter-clockwise seen from the camera.
        stable: landmarks that hardly move with the expression.
        weights: weight of each of them in the fit; they sum to 1.
    """

    def __init__(self, metadata: bytes) -> None:
        fields = list(_fields(metadata))
        mesh = next(value for number, value in fields if number == 1)
        floats = [struct.unpack("<f", value)[0] for number, value in _fields(mesh) if number == 3]
        basis = [dict(_fields(value)) for number, value in fields if number == 2]
        self.stable = np.array([entry[1] for entry in basis])
        self.weights = np.array([struct.unpack("<f", entry[2])[0] for entry in basis])
        self.weights /= self.weights.sum()
        self.vertices = np.array(floats).reshape(-1, 5)[:, :3]
        self.triangles = np.array(
            [corner for number, value in _fields(mesh) if number == 4 for corner in _packed(value)]
        )
        self.triangles = self.triangles.reshape(-1, 3)

    def rotation(self, points: np.ndarray) -> np.ndarray:
        """Return the (3, 3) rotation from the canonical face to (478, 3) landmarks, seen with y up, z to the camera."""
        return rigid_fit(self.vertices[self.stable], points[self.stable] * [1, -1, -1], self.weights)[1]

    def pose(self, points: np.ndarray) -> np.ndarray:
        """Return (3,) float32 yaw, pitch, roll in degrees from (478, 3) landmarks: x right, y down, z away, one unit.

        Positive: yaw, the subject turns to their own left; pitch, they look down; roll, they tilt the head to their
        own left shoulder. Pitch is applied first, about the ear-to-ear axis, then yaw about the vertical, then roll
        about the line of sight, so that rotating a picture changes only roll.
        """
        rotation = self.rotation(points)
        yaw = math.asin(max(-1.0, min(1.0, -rotation[2, 0])))
        pitch = math.atan2(rotation[2, 1], rotation[2, 2])
        roll = -math.atan2(rotation[1, 0], rotation[0, 0])
        return np.degrees(np.array([yaw, pitch, roll], dtype=np.float32))


def rigid_fit(before: np.ndarray, after: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray]:
    """Return scale and rotation (3, 3) of the weighted orthogonal Procrustes fit of points to others, both (N, 3).

    The scale is the ratio of their spreads, so that it is the same both ways.
    """
    before, after = before - weights @ before, after - weights @ after
    u, _, vt = np.linalg.svd((after * weights[:, None]).T @ before)
    u[:, 2] *= np.linalg.det(u @ vt)  # a proper rotation, never a reflection
    return float(np.sqrt((weights @ after**2).sum() / (weights @ before**2).sum())), u @ vt


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Yield number and value of every field in a protobuf message: varints as int, everything else as bytes."""
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
                raise ValueError(f"protobuf wire type {kind} at byte {at}; expected 0, 2 or 5")


def _packed(value: Any) -> list[int]:
    """Return the varints of a repeated field, packed or not."""
    if isinstance(value, int):
        return [value]
    found, at = [], 0
    while at < len(value):
        number, at = _varint(value, at)
        found.append(number)
    return found


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at, value, shift = at + 1, value | (byte & 127) << shift, shift + 7
        if byte < 128:
            return value, at
