"""Head proxy: depth of hair, ears and crown, and how far what surrounds the face follows the head."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deepfakemnist.animate.mesh.tracking import Points
from deepfakemnist.faces.landmark_geometry import HeadModel, rigid_fit
from deepfakemnist.faces.landmark_sets import OVAL

#: Ellipsoid of a head with hair, in cm of the canonical face: centre, and half axes across, up and forward.
_CENTRE, _AXES = np.array([0.0, 1.5, -4.5]), np.array([8.8, 11.8, 9.2])
#: Heights, cm of the canonical face, between which what hangs below the head follows it less and less: the chin is at
#: -9.4, and the neck ends some 10 cm below.
_FOLLOWS, _STAYS = -8.5, -19.0
#: The proxy meets the contour of the face above the jaw, but not below, where the neck lies behind the chin: heights,
#: cm of the canonical face, between which this passes over. Its correction fades at this distance from the contour, cm.
_APART, _MEETS, _FADES = -6.5, -2.5, 6.0
_FLIP = np.array([1.0, -1.0, -1.0])


class HeadProxy:
    """The head around a source's face.

    Args:
        landmarks: (478, 3) of the source, pixels.
        model: canonical face.
    """

    def __init__(self, landmarks: Points, model: HeadModel) -> None:
        stable, weights = model.stable, model.weights
        self._centre, self._canonical_centre = weights @ landmarks[stable], weights @ model.vertices[stable]
        scale, rotation = rigid_fit(model.vertices[stable], landmarks[stable] * _FLIP, weights)
        # Columns: where the canonical axes point to in the picture, pixels per cm.
        self._axes = rotation * _FLIP[:, None] * scale
        self._scale = scale
        self._ellipsoid = self._centre + (_CENTRE - self._canonical_centre) @ self._axes.T

        self._contour = landmarks[list(OVAL)]
        meets = np.clip((model.vertices[list(OVAL), 1] - _APART) / (_MEETS - _APART), 0, 1)
        self._correction = (self._contour[:, 2] - self._of_ellipsoid(self._contour[:, :2])) * meets

    def depth(self, plane: Points) -> Points:
        """Return the depth (N,) of the proxy at (N, 2) pixels; outside of it, that of its rim."""
        squared = np.square(plane[:, None] - self._contour[:, :2]).sum(axis=-1)
        weights = 1 / (squared + 1e-3)
        correction = (weights @ self._correction) / weights.sum(axis=1)
        fading = np.exp(-squared.min(axis=1) / (_FADES * self._scale) ** 2)
        return np.asarray(self._of_ellipsoid(plane) + correction * fading)

    def covers(self, plane: Points) -> NDArray[np.bool_]:
        """Return whether the proxy lies behind (N, 2) pixels."""
        a, b, c = self._along_sight(plane)
        return np.asarray(b * b > a * c)

    def _of_ellipsoid(self, plane: Points) -> Points:
        a, b, c = self._along_sight(plane)
        return np.asarray((-b - np.sqrt(np.maximum(b * b - a * c, 0))) / a)

    def _along_sight(self, plane: Points) -> tuple[float, Points, Points]:
        """Return a, b and c of a z² + 2 b z + c = 0 for the depths z at which lines of sight meet the ellipsoid."""
        to_unit = np.linalg.inv(self._axes) / _AXES[:, None]
        start = (np.column_stack([plane, np.zeros(len(plane))]) - self._ellipsoid) @ to_unit.T
        along = to_unit[:, 2]
        return float(along @ along), start @ along, (start**2).sum(axis=1) - 1

    def follows(self, points: Points) -> Points:
        """Return the share (N,) of the head's motion that points (N, 3) take part in, 0..1."""
        height = ((points - self._centre) @ np.linalg.inv(self._axes).T + self._canonical_centre)[:, 1]
        share = np.clip((height - _STAYS) / (_FOLLOWS - _STAYS), 0, 1)
        return np.asarray(share * share * (3 - 2 * share))
