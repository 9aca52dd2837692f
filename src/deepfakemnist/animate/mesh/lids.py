"""Closing lids: skin covers the eye, and a line of lashes lies where the lids meet.

Landmarks lie on the margins of the lids, within a pixel or two. Without further ado, a closed eye would keep a slit of
what the source shows beside them: white, iris and lashes.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from deepfakemnist.animate.mesh.rendering import Picture
from deepfakemnist.animate.mesh.tracking import Points
from deepfakemnist.animate.mesh.transfer import LIDS, Placed
from deepfakemnist.faces.landmark_sets import OUTER_EYE_CORNERS

#: As lids close, they show what lies this share of the source's aperture above the upper and below the lower margin.
_ABOVE, _BELOW = 0.2, 0.12
#: Lashes begin to show at this share of the source's aperture, and are all there at the second.
_BEGIN, _SHOWN = 0.5, 0.15
#: Thickness of the line of lashes, relative to the distance between the outer corners of the eyes, and its opacity.
_THICK, _OPACITY = 0.02, 0.85
#: From the outer corner along the upper lid, but not into the inner corner, where there are no lashes.
_LASHES = ((33, 246, 161, 160, 159, 158, 157), (263, 466, 388, 387, 386, 385, 384))
#: Supersampling of the line.
_FINE = 4


class Lids:
    """Lids of a source.

    Args:
        picture: (H, W, 3) uint8 RGB.
        landmarks: (478, 3), pixels.
    """

    def __init__(self, picture: Picture, landmarks: Points) -> None:
        self._colours = [_lash_colour(picture, landmarks, lashes) for lashes in _LASHES]

    @staticmethod
    def texture(vertices: Points, placed: Placed) -> Points:
        """Return where the vertices (V, 3) of the sheet, landmarks first, take their pixels from in the source picture.

        Args:
            vertices: of the sheet in the source picture.
            placed: where the head is in the frame.
        """
        moved = vertices.copy()
        for pairs, opening in zip(LIDS, placed.openings, strict=True):
            for upper, lower in pairs:
                gap = (vertices[upper] - vertices[lower]) * max(1 - opening, 0)
                moved[upper] += _ABOVE * gap
                moved[lower] -= _BELOW * gap
        return moved

    def draw_lashes(self, frame: NDArray[np.float32], placed: Placed) -> None:
        """Draw the lashes of closing eyes into a frame (H, W, 3), 0..255, in place."""
        right, left = placed.points[list(OUTER_EYE_CORNERS), :2]
        apart = float(np.linalg.norm(right - left))
        for lashes, colour, opening in zip(_LASHES, self._colours, placed.openings, strict=True):
            opacity = float(np.clip((_BEGIN - opening) / (_BEGIN - _SHOWN), 0, 1)) * _OPACITY
            if opacity > 0:
                _draw_line(frame, placed.points[list(lashes), :2], colour, opacity, _THICK * apart)


def _lash_colour(picture: Picture, landmarks: Points, lashes: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the median (3,) of the darkest pixels at every landmark of the upper lid's margin."""
    height, width = picture.shape[:2]
    found = []
    for x, y in np.round(landmarks[list(lashes), :2]).astype(int):
        near = picture[max(y - 1, 0) : min(y + 2, height), max(x - 1, 0) : min(x + 2, width)].reshape(-1, 3)
        if len(near):
            found.append(near[near.astype(int).sum(axis=1).argmin()])
    return np.asarray(np.median(found, axis=0) if found else np.zeros(3), np.float32)


def _draw_line(
    frame: NDArray[np.float32], line: Points, colour: NDArray[np.float32], opacity: float, thickness: float
) -> None:
    """Blend an anti-aliased line through points (N, 2) into a frame, in place."""
    height, width = frame.shape[:2]
    low = np.maximum(np.floor(line.min(axis=0)).astype(int) - 4, 0)
    high = np.minimum(np.ceil(line.max(axis=0)).astype(int) + 5, (width, height))
    if (high <= low).any():
        return
    size = (int(high[0] - low[0]), int(high[1] - low[1]))
    fine = np.zeros((size[1] * _FINE, size[0] * _FINE), np.uint8)
    corners = np.round((line - low + 0.5) * _FINE - 0.5).astype(np.int32)
    cv2.polylines(fine, [corners], False, 255, max(round(thickness * _FINE), 1))
    soft = cv2.GaussianBlur(fine, (0, 0), _FINE * 0.6)
    share = cv2.resize(soft, size, interpolation=cv2.INTER_AREA).astype(np.float32) * (opacity / 255)
    part = frame[low[1] : high[1], low[0] : high[0]]
    # Lashes darken; where the skin is darker still, nothing is drawn.
    part += share[..., None] * np.minimum(colour - part, 0)
