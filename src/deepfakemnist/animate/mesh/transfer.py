"""Transfer of a driver's head motion and expression to the landmarks of a source.

The head moves rigidly, as fitted to landmarks that expressions hardly move. What remains is the expression: its change
since the start frame, turned into the source's pose and scaled to the source's face. Apertures of lids and lips are
transferred as ratios, so that they close exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deepfakemnist.animate.mesh.tracking import Points, eye_distance
from deepfakemnist.faces.landmark_geometry import HeadModel, rigid_fit

#: Upper and lower lid, subject's right and left eye, from the middle outwards.
_LIDS = (
    ((159, 145), (158, 153), (160, 144), (157, 154), (161, 163), (173, 155), (246, 7)),
    ((386, 374), (385, 380), (387, 373), (384, 381), (388, 390), (398, 382), (466, 249)),
)
#: Pairs that say how far an eye is open.
_MIDDLE = 3
#: Ratio of apertures at which lids are shut: landmarks of closed lids keep a distance.
_SHUT = 0.2
#: Lids open at most this much wider than the source's.
_WIDEST = 1.5
#: Inner lips, upper and lower, from the middle outwards.
LIPS = ((13, 14), (82, 87), (312, 317), (81, 178), (311, 402), (80, 88), (310, 318), (191, 95), (415, 324))
#: Nose root and chin, whose distance scales vertical motion.
_ROOT, _CHIN = 168, 152
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

    def rigid(self, points: Points) -> Points:
        """Return where points (N, 3) of the source's head come to without any expression."""
        return points @ self.matrix.T + self.shift


class Transfer:
    """Moves the landmarks of one source by one driver.

    Args:
        source: (478, 3) landmarks in the source picture, pixels.
        start: (478, 3) landmarks of the driver in the frame that corresponds to the source picture, pixels.
        model: canonical face.
    """

    def __init__(self, source: Points, start: Points, model: HeadModel) -> None:
        self._source, self._start, self._model = source, start, model
        self._to_source = _rotation(model, source)
        self._from_start = _rotation(model, start)
        across = eye_distance(source) / eye_distance(start)
        down = np.linalg.norm(source[_ROOT] - source[_CHIN]) / np.linalg.norm(start[_ROOT] - start[_CHIN])
        self._gain = np.array([across, down, across])
        self._pivot = model.weights @ source[model.stable]

    def __call__(self, driver: Points) -> Placed:
        """Return the source's landmarks in the frame of the driver's, (478, 3)."""
        scale, rotation, moved = self._head_motion(driver)
        centre = self._model.weights @ self._start[self._model.stable]
        unmoved = (driver - centre - moved) @ rotation / scale + centre
        expression = (unmoved - self._start) @ self._from_start * self._gain
        still = self._source + expression @ self._to_source.T
        self._set_lids(still, unmoved)
        self._part_lips(still)
        matrix = scale * rotation
        shift = self._pivot + moved * self._gain[0] - matrix @ self._pivot
        return Placed(still @ matrix.T + shift, matrix, shift)

    def _head_motion(self, driver: Points) -> tuple[float, Points, Points]:
        """Return scale, rotation and translation of the driver's head since its start frame."""
        stable, weights = self._model.stable, self._model.weights
        scale, rotation = rigid_fit(self._start[stable], driver[stable], weights)
        return scale, rotation, weights @ driver[stable] - weights @ self._start[stable]

    def _set_lids(self, points: Points, driver: Points) -> None:
        """Open or close the lids by the ratio of the driver's aperture, its head held still, to that at the start."""
        for pairs in _LIDS:
            start = _aperture(self._start, pairs)
            ratio = _aperture(driver, pairs) / max(start, 1e-3)
            ratio = (ratio - _SHUT) / (1 - _SHUT) if ratio < 1 else ratio
            for upper, lower in pairs:
                gap = self._source[upper] - self._source[lower]
                points[upper] = points[lower] + gap * min(max(ratio, 0.0), _WIDEST)

    def _part_lips(self, points: Points) -> None:
        """Let lips that would pass through each other meet in the middle."""
        down = points[_CHIN] - points[_ROOT]
        down = down / np.linalg.norm(down)
        for upper, lower in LIPS:
            # Landmarks of closed lips may be the wrong way round in the source, too.
            least = min(float((self._source[lower] - self._source[upper]) @ down), 0.0)
            gap = float((points[lower] - points[upper]) @ down) - least
            if gap < 0:
                points[upper] += gap / 2 * down
                points[lower] -= gap / 2 * down


def _aperture(points: Points, pairs: tuple[tuple[int, int], ...]) -> float:
    return float(np.mean([np.linalg.norm(points[one, :2] - points[other, :2]) for one, other in pairs[:_MIDDLE]]))


def _rotation(model: HeadModel, points: Points) -> Points:
    """Return the rotation from the canonical face, its y and z turned round, to the landmarks."""
    return model.rotation(points) * _FLIP[:, None] * _FLIP
