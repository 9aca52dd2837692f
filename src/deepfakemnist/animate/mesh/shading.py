"""Expression ratio images: creases that a driver's expression makes, transferred to the source by brightness.

After Liu, Shan and Zhang 2001: the ratio of a face with an expression to the same face without it multiplies the
brightness of another face. Both are compared in a chart of the canonical face, after division by their surroundings, so
that light and the colour of skin cancel.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from deepfakemnist.animate.mesh.pixel_loops import brighten
from deepfakemnist.animate.mesh.rendering import Picture
from deepfakemnist.animate.mesh.tracking import Points
from deepfakemnist.faces.landmark_geometry import HeadModel
from deepfakemnist.faces.landmark_sets import OUTER_LIPS
from deepfakemnist.media.raster import interpolate, visibility

#: The chart shows the canonical face from the front: cells per cm, its left and upper end in cm, and its size.
_PER_CM, _LEFT, _TOP = 4.0, -8.0, 9.0
HEIGHT, WIDTH = 76, 64
#: Creases are this wide, standard deviations in cells: finer ones are lost to compression, wider ones are light.
_FINE, _COARSE = 1.0, 5.0
#: Stored creases: steps per unit, so that int8 holds ratios of 0.5 to 1.5.
_STEPS = 254.0
#: Changes of less than this are noise; the others darken and lighten at most so much.
_NOISE, _DARKEST, _LIGHTEST = 0.015, -0.35, 0.15
#: Mean contrast of smooth skin and of a beard, whose hairs never come to the same place, in so many cells: up to 0.1 of
#: 20 real drivers without a full beard, 0.13 and 0.15 of bearded actors.
_SMOOTH, _BEARD, _AROUND = 0.08, 0.13, 9
#: Where expressions crease, cm of the canonical face: cheeks, nasolabial folds and chin, between these heights, at most
#: so far from the middle; and above the lips' upper end only beside the nose.
_BELOW_EYES, _ABOVE_CHIN, _FROM_MIDDLE, _BESIDE_NOSE, _ABOVE_LIPS = -0.3, -7.6, 4.6, 1.6, 0.3
#: A head that turns shows another light: degrees between which nothing is taken over any more.
_TURNED = 8.0, 20.0
#: Weight from which a place is kept: the weights end softly.
_KEPT = 0.05
#: Lips and nostrils keep this distance, cells: the least misfit of landmarks shows there.
_AWAY = 2
#: Coordinates of what lies beside the chart.
_BESIDE = -100.0


class Chart:
    """Chart of the canonical face.

    Args:
        model: canonical face.
    """

    def __init__(self, model: HeadModel) -> None:
        self._triangles = model.triangles.astype(np.int32)
        self._flat = ((model.vertices[:, :2] * [1, -1] + [-_LEFT, _TOP]) * _PER_CM).astype(np.float32)
        screen = np.column_stack([self._flat, -model.vertices[:, 2]]).astype(np.float32)
        one_sided = np.zeros(len(self._triangles), bool)
        self._triangle, self._weights, _ = visibility(screen, self._triangles, one_sided, (WIDTH, HEIGHT))
        self._weight = self._creasing(model)

    def creases(self, frame: Picture, points: Points) -> NDArray[np.int8]:
        """Return how much darker or lighter cheeks and chin are than their surroundings, (HEIGHT, WIDTH); else 0.

        Args:
            frame: (H, W, 3) uint8 RGB.
            points: (478, 3) landmarks, pixels.
        """
        luma = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        places = self._interpolated(points[: len(self._flat), :2].astype(np.float32))
        seen = cv2.remap(luma, places[..., 0], places[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        seen = seen.astype(np.float32) + 8  # dark noise
        ratio = cv2.GaussianBlur(seen, (0, 0), _FINE) / cv2.GaussianBlur(seen, (0, 0), _COARSE) - 1
        # Nothing is kept of eyes and mouth, by which a driver could be known.
        return np.asarray(np.clip(np.round(ratio * _STEPS), -127, 127) * (self._weight > _KEPT), np.int8)

    def change(self, start: NDArray[np.int8], frame: NDArray[np.int8], degrees: float = 0.0) -> NDArray[np.float32]:
        """Return by what share the brightness changes between two frames of a driver, (HEIGHT, WIDTH).

        Args:
            start, frame: from :meth:`creases`.
            degrees: by which the head has turned in between.
        """
        ratio = (1 + frame.astype(np.float32) / _STEPS) / (1 + start.astype(np.float32) / _STEPS) - 1
        significant = np.sign(ratio) * np.maximum(np.abs(ratio) - _NOISE, 0)
        texture = cv2.blur(np.abs(start.astype(np.float32)) / _STEPS, (_AROUND, _AROUND))
        smooth = np.clip((_BEARD - texture) / (_BEARD - _SMOOTH), 0, 1)
        facing = np.clip((_TURNED[1] - degrees) / (_TURNED[1] - _TURNED[0]), 0, 1)
        return np.asarray(np.clip(significant, _DARKEST, _LIGHTEST) * smooth * facing * self._weight, np.float32)

    def coordinates(self, landmarks: Points, shape: tuple[int, int], border: int = 0) -> NDArray[np.float32]:
        """Return the place in the chart, (H, W, 2), of every pixel of a source; outside of it, beside the chart.

        Args:
            landmarks: (478, 3), pixels.
            shape: height and width of the picture, with its border.
            border: pixels beyond the picture that the landmarks are in.
        """
        screen = (landmarks[: len(self._flat)] + np.array([border, border, 0])).astype(np.float32)
        triangle, weights, _ = visibility(screen, self._triangles, np.zeros(len(self._triangles), bool), shape[::-1])
        found = interpolate(self._flat, self._triangles, np.maximum(triangle, 0).reshape(-1), weights.reshape(-1, 2))
        return np.asarray(np.where((triangle >= 0)[..., None], found.reshape(*shape, 2), _BESIDE), np.float32)

    def _interpolated(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        cells = np.maximum(self._triangle, 0).reshape(-1)
        found = interpolate(values, self._triangles, cells, self._weights.reshape(-1, 2))
        return found.reshape(HEIGHT, WIDTH, -1)

    def _creasing(self, model: HeadModel) -> NDArray[np.float32]:
        """Return where expressions crease a face, (HEIGHT, WIDTH), 0..1."""
        x = np.arange(WIDTH) / _PER_CM + _LEFT
        y = _TOP - np.arange(HEIGHT)[:, None] / _PER_CM
        lips_top = model.vertices[list(OUTER_LIPS), 1].max()
        beside_nose = (np.abs(x) > _BESIDE_NOSE) | (y < lips_top + _ABOVE_LIPS)
        height = (y < _BELOW_EYES) & (y > _ABOVE_CHIN)
        where = ((self._triangle >= 0) & height & (np.abs(x) < _FROM_MIDDLE) & beside_nose).astype(np.uint8)
        lips = np.zeros_like(where)
        cv2.fillPoly(lips, [np.round(self._flat[list(OUTER_LIPS)]).astype(np.int32)], 1)
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _AWAY + 1, 2 * _AWAY + 1))
        where = cv2.erode(where & (1 - cv2.dilate(lips, kernel)), kernel)
        return np.asarray(cv2.GaussianBlur(where.astype(np.float32), (0, 0), 1.0), np.float32)


def shaded(picture: Picture, change: NDArray[np.float32], coordinates: NDArray[np.float32]) -> Picture:
    """Return a picture (H, W, C) uint8 with its first three channels brightened by a change.

    Args:
        picture: of the source.
        change: from :meth:`Chart.change`.
        coordinates: from :meth:`Chart.coordinates`.
    """
    out = picture.copy()
    rows, columns = (np.flatnonzero((coordinates[..., 0] > _BESIDE).any(axis=axis)) for axis in (1, 0))
    if len(rows) and change.any():
        part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        across, down = (np.ascontiguousarray(coordinates[part][..., k]) for k in range(2))
        factor = np.asarray(1 + cv2.remap(change, across, down, cv2.INTER_LINEAR, borderValue=0), np.float32)
        brighten(picture[part], factor, out[part])
    return out
