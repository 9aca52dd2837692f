"""Transfer of a driver's head motion and expression to the landmarks of a source.

The head moves rigidly, as fitted to landmarks that expressions hardly move. What remains is the expression: its change
since the start frame, turned into the source's pose and scaled to the source's face. Apertures of lids and lips are
transferred as ratios, so that they close exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deepfakemnist.animate.mesh.tracking import Points, eye_distance
from deepfakemnist.faces.landmark_geometry import HeadModel, rigid_fit
from deepfakemnist.faces.landmark_sets import MOUTH_CORNERS

#: Upper and lower lid, subject's right and left eye, from the middle outwards.
LIDS = (
    ((159, 145), (158, 153), (160, 144), (157, 154), (161, 163), (173, 155), (246, 7)),
    ((386, 374), (385, 380), (387, 373), (384, 381), (388, 390), (398, 382), (466, 249)),
)
#: Points of the iris and corners of the right and the left eye.
IRISES = (([468, 469, 470, 471, 472], [33, 133]), ([473, 474, 475, 476, 477], [362, 263]))
#: Pairs that say how far an eye is open.
_MIDDLE = 3
#: Ratio of apertures at which lids are shut: landmarks of closed lids keep a distance.
_SHUT = 0.2
#: Lids open at most this much wider than the source's.
_WIDEST = 1.5
#: Inner lips, upper and lower, from the middle outwards.
LIPS = ((13, 14), (82, 87), (312, 317), (81, 178), (311, 402), (80, 88), (310, 318), (191, 95), (415, 324))
#: Height of the line where the lips of the canonical face meet, cm, and the transition to what the jaw moves.
_LIPS_MEET, _LIP = -4.15, 0.25
#: Root and base of the nose, whose distance scales vertical motion, and chin.
_ROOT, _BASE, _CHIN = 168, 2, 152
_FLIP = np.array([1.0, -1.0, -1.0])


@dataclass(frozen=True, eq=False)
class Placed:
    """Where the head is in a frame."""

    points: Points
    """(478, 3) landmarks of the source in this frame, pixels."""
    matrix: Points
    """(3, 3) rotation and scale of the head since the source picture."""
    shift: Points
    """(3,) so that a rigid point p of the source's head comes to ``matrix @ p + shift``."""
    openings: tuple[float, float]
    """How far the right and the left eye are open, relative to the source picture, 0 shut."""

    @property
    def degrees(self) -> float:
        """Angle by which the head has turned since the source picture."""
        cosine = (np.trace(self.matrix) / np.cbrt(np.linalg.det(self.matrix)) - 1) / 2
        return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))

    def rigid(self, points: Points) -> Points:
        """Return where points (N, 3) of the source's head come to without any expression."""
        return points @ self.matrix.T + self.shift


class Transfer:
    """Moves the landmarks of one source by one driver.

    Args:
        source: (478, 3) landmarks in the source picture, pixels.
        start: (478, 3) landmarks of the driver in the frame that corresponds to the source picture, pixels.
        model: canonical face.
        gaze: whether the eyes look where the driver's do; if not, irises keep their places between the corners.
    """

    def __init__(self, source: Points, start: Points, model: HeadModel, gaze: bool = True) -> None:
        self._source, self._start, self._model, self._gaze = source, start, model, gaze
        self._to_source = _rotation(model, source)
        self._from_start = _rotation(model, start)
        across = eye_distance(source) / eye_distance(start)
        down = np.linalg.norm(source[_ROOT] - source[_BASE]) / np.linalg.norm(start[_ROOT] - start[_BASE])
        self._gain = np.array([across, down, across])
        irises = np.zeros(len(source) - len(model.vertices))
        # Places across the canonical face, and the share of a landmark that the jaw moves.
        self._across = np.concatenate([model.vertices[:, 0], irises])
        self._jaw = np.concatenate([np.clip((_LIPS_MEET - model.vertices[:, 1]) / _LIP, 0, 1), irises])
        self._pivot = model.weights @ source[model.stable]

    def __call__(self, driver: Points) -> Placed:
        """Return the source's landmarks in the frame of the driver's, (478, 3)."""
        scale, rotation, moved = self._head_motion(driver)
        centre = self._model.weights @ self._start[self._model.stable]
        unmoved = (driver - centre - moved) @ rotation / scale + centre
        expression = (unmoved - self._start) @ self._from_start * self._gain
        still = self._source + expression @ self._to_source.T
        openings = self._set_lids(still, unmoved)
        if not self._gaze:
            for iris, corners in IRISES:
                still[iris] = self._source[iris] + (still[corners] - self._source[corners]).mean(axis=0)
        self._part_lips(still)
        matrix = scale * rotation
        shift = self._pivot + moved * self._gain[0] - matrix @ self._pivot
        return Placed(still @ matrix.T + shift, matrix, shift, openings)

    def _head_motion(self, driver: Points) -> tuple[float, Points, Points]:
        """Return scale, rotation and translation of the driver's head since its start frame."""
        stable, weights = self._model.stable, self._model.weights
        scale, rotation = rigid_fit(self._start[stable], driver[stable], weights)
        return scale, rotation, weights @ driver[stable] - weights @ self._start[stable]

    def _set_lids(self, points: Points, driver: Points) -> tuple[float, float]:
        """Open or close the lids by the ratio of the driver's aperture, its head held still, to that at the start.

        Returns: the ratio of the right and the left eye.
        """
        right, left = (self._opening(driver, pairs) for pairs in LIDS)
        for pairs, ratio in zip(LIDS, (right, left), strict=True):
            for upper, lower in pairs:
                points[upper] = points[lower] + (self._source[upper] - self._source[lower]) * ratio
        return right, left

    def _opening(self, driver: Points, pairs: tuple[tuple[int, int], ...]) -> float:
        """Return how far an eye is open relative to the source picture."""
        ratio = _aperture(driver, pairs) / max(_aperture(self._start, pairs), 1e-3)
        ratio = (ratio - _SHUT) / (1 - _SHUT) if ratio < 1 else ratio
        return min(max(ratio, 0.0), _WIDEST)

    def _part_lips(self, points: Points) -> None:
        """Let lips meet that would pass through each other, as when the driver begins with an open mouth."""
        down = points[_CHIN] - points[_ROOT]
        down = down / np.linalg.norm(down)
        overlaps = [max(-self._lip_gap(points, pair, down), 0.0) for pair in LIPS]
        # The jaw closes no further than the lips let it: they would be squeezed thin.
        points += np.interp(self._across, *self._along_lips(overlaps))[:, None] * self._jaw[:, None] * down
        for upper, lower in LIPS:
            overlap = max(-self._lip_gap(points, (upper, lower), down), 0.0)
            points[upper] -= overlap / 2 * down
            points[lower] += overlap / 2 * down

    def _along_lips(self, values: Sequence[float]) -> tuple[Points, Points]:
        """Return places across the face, in ascending order, and the values of ``LIPS`` there; 0 at the corners."""
        corners = self._across[list(MOUTH_CORNERS)]
        places = np.concatenate([corners, self._across[[lower for _, lower in LIPS]]])
        order = np.argsort(places)
        return places[order], np.concatenate([np.zeros(len(corners)), values])[order]

    def _lip_gap(self, points: Points, pair: tuple[int, int], down: Points) -> float:
        """Return how far two points of the lips are apart, negative if they pass through each other."""
        upper, lower = pair
        # Landmarks of closed lips may be the wrong way round in the source, too.
        least = min(float((self._source[lower] - self._source[upper]) @ down), 0.0)
        return float((points[lower] - points[upper]) @ down) - least


def _aperture(points: Points, pairs: tuple[tuple[int, int], ...]) -> float:
    return float(np.mean([np.linalg.norm(points[one, :2] - points[other, :2]) for one, other in pairs[:_MIDDLE]]))


def _rotation(model: HeadModel, points: Points) -> Points:
    """Return the rotation from the canonical face, its y and z turned round, to the landmarks."""
    return model.rotation(points) * _FLIP[:, None] * _FLIP
