"""Source crop of the original LivePortrait, upright and 2.3 times the face, and pasting back into the source frame.

The original finds the face with InsightFace's networks, which are for non-commercial research only. Here the project's
own landmarks take their place; the geometry is the original's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from deepfakemnist.faces.landmark_sets import (
    INNER_LIPS,
    LEFT_BROW,
    LEFT_EYE,
    MOUTH_CORNERS,
    NOSE,
    OUTER_LIPS,
    OVAL,
    RIGHT_BROW,
    RIGHT_EYE,
)

#: Side of the crop over the larger extent of the face's points, and its shift downwards over that side.
SCALE, SHIFT = 2.3, -0.125
#: Below this distance of eyes and lips, pixels, a face counts as upright.
_DEGENERATE = 1e-3
#: Width of the border of the mask at 512 × 512, over which a frame fades into the source.
_FADE, _MASK_SIDE = 16, 512
#: The lower part of ``OVAL`` from temple to temple: where the contour of InsightFace's 106 points ends.
_JAW = OVAL[OVAL.index(356) : OVAL.index(127) + 1]


@dataclass(frozen=True)
class LandmarkIndices:
    """Which points of a scheme give the crop."""

    eyes: tuple[Sequence[int], Sequence[int]]
    """Points of either eye, whose mean is its centre."""
    lips: Sequence[int]
    """Points whose mean is the centre of the lips."""
    box: Sequence[int]
    """Points that the crop is measured by."""


#: MediaPipe's mesh. Its forehead, which none of the 106 points show, is left out of the box.
MESH = LandmarkIndices(
    eyes=((33, 133, 159, 145), (362, 263, 386, 374)),
    lips=MOUTH_CORNERS,
    box=(*_JAW, *RIGHT_BROW, *LEFT_BROW, *RIGHT_EYE, *LEFT_EYE, *NOSE, *OUTER_LIPS, *INNER_LIPS),
)


@dataclass(frozen=True)
class FaceSquare:
    """A square around a face, in pixels of the picture."""

    centre: tuple[float, float]
    side: float
    angle: float
    """Radians from the picture's x axis to the face's, towards its y axis."""

    def to_crop(self, size: int, *, upright: bool = True) -> NDArray[np.float64]:
        """Return the 3×3 matrix from the picture to a crop of ``size`` pixels, turned upright or not."""
        angle = self.angle if upright else 0.0
        scale = size / self.side
        turn = scale * np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        matrix = np.eye(3)
        matrix[:2, :2] = turn
        matrix[:2, 2] = size / 2 - turn @ self.centre
        return matrix


def face_square(
    points: NDArray[np.floating], indices: LandmarkIndices = MESH, scale: float = SCALE, shift: float = SHIFT
) -> FaceSquare:
    """Return the square of a face.

    Args:
        points: landmarks (L, 2), x and y in pixels.
        indices: of these landmarks.
        scale: side over the larger extent of the box.
        shift: of the centre along the axis from eyes to lips, in sides.
    """
    points = np.asarray(points, dtype=np.float32)
    eyes = np.mean([points[list(eye)].mean(0) for eye in indices.eyes], axis=0)
    down = points[list(indices.lips)].mean(0) - eyes
    length = np.linalg.norm(down)
    down = down / length if length > _DEGENERATE else np.array([0.0, 1.0], np.float32)
    right = np.array([down[1], -down[0]])
    axes = np.stack([right, down])
    middle = points[list(indices.box)].mean(0)
    along = (points[list(indices.box)] - middle) @ axes.T
    low, high = along.min(0), along.max(0)
    side = float((high - low).max() * np.float32(scale))
    centre = middle + ((low + high) / 2) @ axes + down * shift * side
    angle = float(np.arccos(np.clip(right[0], -1, 1)))
    return FaceSquare((float(centre[0]), float(centre[1])), side, angle if right[1] >= 0 else -angle)


def crop(image: NDArray[np.uint8], to_crop: NDArray[np.float64], size: int) -> NDArray[np.uint8]:
    """Return the crop (size, size, 3) of an image (H, W, 3), black where the image ends."""
    matrix = to_crop[:2].astype(np.float32)
    return np.asarray(cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR), dtype=np.uint8)


class Pasting:
    """Pasting of rendered frames (size, size, 3) into the source frame they were cropped from.

    The whole crop is replaced, hair and background included, and fades at its border.
    """

    def __init__(self, image: NDArray[np.uint8], to_crop: NDArray[np.float64], size: int) -> None:
        self._image = image.astype(np.float32)
        self._from_crop = np.linalg.inv(to_crop)[:2].astype(np.float32)
        self.mask = self._moved(crop_mask(size)).astype(np.float32) / 255

    def __call__(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the source frame with the rendered one in it."""
        mixed = self.mask * self._moved(frame) + (1 - self.mask) * self._image
        return np.clip(mixed, 0, 255).astype(np.uint8)

    def _moved(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width = self._image.shape[:2]
        return np.asarray(cv2.warpAffine(image, self._from_crop, (width, height), flags=cv2.INTER_LINEAR))


def crop_mask(size: int) -> NDArray[np.uint8]:
    """Return the mask (size, size, 3) of a crop: 255 inside, falling to 0 towards its border."""
    pixel = np.arange(_MASK_SIDE)
    beyond = np.maximum(np.maximum(_FADE - pixel, pixel - (_MASK_SIDE - _FADE)), 0)
    distance = np.hypot(beyond[:, None], beyond[None])
    mask = np.floor(255 * np.clip(1 - distance / _FADE, 0, 1)).astype(np.uint8)
    reduced = cv2.resize(mask, (size, size), interpolation=cv2.INTER_AREA)
    return np.repeat(reduced[..., None], 3, axis=2)
