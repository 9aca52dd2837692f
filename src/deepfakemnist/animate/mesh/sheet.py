"""Mesh over a source picture: face, eyes, mouth, and a sheet around them that reaches beyond the picture's border."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay

from deepfakemnist.animate.mesh.head import HeadProxy
from deepfakemnist.animate.mesh.tracking import Points
from deepfakemnist.animate.mesh.transfer import IRISES, Placed
from deepfakemnist.faces.landmark_geometry import HeadModel
from deepfakemnist.faces.landmark_sets import INNER_LIPS, LEFT_EYE, MOUTH_CORNERS, OVAL, RIGHT_EYE

Triangles = NDArray[np.int32]

#: Cells of the sheet across the picture's shorter side, and cells beyond its border.
_CELLS, _BEYOND = 28, 6
#: The sheet keeps this distance from the face, in cells.
_GAP = 0.6
#: The inside of the mouth lies this deep behind the lips, relative to the mouth's width: lips that meet hide it.
_MOUTH_DEPTH = 1e-3
#: Points of the irises count as within the lids from this distance, pixels.
_WITHIN = 0.3
#: A triangle whose area in the source picture is less than this share of that in space is seen edge-on there.
_UNSEEN = 0.12


class Sheet:
    """Vertices and triangles over a picture.

    Args:
        landmarks: (478, 3) of the source, pixels.
        shape: height and width of the picture.
        model: canonical face.

    Attributes:
        proxy: head around the face.
        vertices: (V, 3) in the source picture, pixels; the landmarks first.
        triangles: (F, 3), counter-clockwise on the screen where the source shows their front.
        face: (F,) whether a triangle belongs to the face.
        unseen: (F,) whether the source shows a triangle of the face from behind or edge-on, so that its pixels are not
            those of the surface.
        mouth: (F,) whether a triangle lies between the lips.
    """

    def __init__(self, landmarks: Points, shape: tuple[int, int], model: HeadModel) -> None:
        self.proxy = HeadProxy(landmarks, model)
        oval = landmarks[list(OVAL)]
        outside = _grid_around(oval[:, :2], shape)
        self._around = np.column_stack([outside, self.proxy.depth(outside)])
        self._share = self.proxy.follows(self._around)[:, None]
        self.vertices = np.concatenate([landmarks, self._around])

        within = {frozenset(part) for part in (INNER_LIPS, RIGHT_EYE, LEFT_EYE)}
        face = [one for one in model.triangles if not any(set(one.tolist()) <= part for part in within)]
        eyes = [
            _filled(landmarks, ring, (*ring, *iris))
            for ring, (iris, _) in zip((RIGHT_EYE, LEFT_EYE), IRISES, strict=True)
        ]
        mouth = _filled(landmarks, INNER_LIPS, INNER_LIPS)
        rim = np.array([*OVAL, *range(len(landmarks), len(self.vertices))])
        sheet = _outside(self.vertices[:, :2], rim, oval[:, :2])
        parts = [np.array(face), *eyes, mouth, sheet]
        self.triangles = np.concatenate(parts).astype(np.int32)
        self.mouth = np.repeat([False, False, False, True, False], [len(part) for part in parts])
        area = signed_area(self.vertices, self.triangles)
        # Delaunay's triangles are turned either way; those of the face have an order of their own.
        turned = (area > 0) & (np.arange(len(area)) >= len(face))
        self.triangles[turned] = self.triangles[turned][:, ::-1]
        shown = -signed_area(self.vertices, self.triangles)
        self.face = np.arange(len(area)) < len(face)
        self.unseen = self.face & (shown < _UNSEEN * _area_3d(self.vertices, self.triangles))

    def moved(self, placed: Placed) -> Points:
        """Return the vertices (V, 3) in a frame, pixels."""
        around = self._around + self._share * (placed.rigid(self._around) - self._around)
        moved = np.concatenate([placed.points, around])
        inside = np.unique(self.triangles[self.mouth])
        right, left = placed.points[list(MOUTH_CORNERS)]
        moved[inside, 2] += _MOUTH_DEPTH * np.linalg.norm(right - left)
        return moved


def signed_area(points: Points, triangles: Triangles) -> Points:
    """Return twice the area (F,) of triangles on the screen, negative where they run counter-clockwise."""
    a, b, c = (points[triangles[:, corner], :2] for corner in range(3))
    return np.asarray((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0])


def _area_3d(points: Points, triangles: Triangles) -> Points:
    """Return twice the area (F,) of triangles in space."""
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    return np.asarray(np.linalg.norm(np.cross(b - a, c - a), axis=1))


def _grid_around(oval: Points, shape: tuple[int, int]) -> Points:
    """Return grid points (N, 2) in and around a picture, but not in the face or close to it."""
    height, width = shape
    cell = min(height, width) / _CELLS
    x = np.arange(-_BEYOND, width / cell + _BEYOND + 1) * cell - 0.5
    y = np.arange(-_BEYOND, height / cell + _BEYOND + 1) * cell - 0.5
    points = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    # Every second row is shifted by half a cell, so that triangles are equilateral.
    points[:, 0] += (np.round((points[:, 1] + 0.5) / cell) % 2) * cell / 2
    contour = oval.astype(np.float32)
    distance = np.array([cv2.pointPolygonTest(contour, (float(u), float(v)), True) for u, v in points])
    return np.asarray(points[distance < -_GAP * cell])


def _filled(landmarks: Points, ring: tuple[int, ...], points: tuple[int, ...]) -> Triangles:
    """Return triangles that fill a ring of landmarks; of the points, those within it are corners of some."""
    contour = landmarks[list(ring), :2]
    lids = contour.astype(np.float32)
    # Parts of an iris that the lids hide have no place between them.
    shown = [
        point
        for point in points
        if point in ring
        or cv2.pointPolygonTest(lids, (float(landmarks[point, 0]), float(landmarks[point, 1])), True) > _WITHIN
    ]
    return _delaunay(landmarks[:, :2], np.array(shown), contour, inside=True)


def _outside(plane: Points, points: NDArray[np.int_], ring: Points) -> Triangles:
    return _delaunay(plane, points, ring, inside=False)


def _delaunay(plane: Points, points: NDArray[np.int_], ring: Points, inside: bool) -> Triangles:
    """Return the Delaunay triangles of points whose centre is inside, or outside, of a ring."""
    triangles = points[Delaunay(plane[points]).simplices]
    contour = ring.astype(np.float32)
    centres = plane[triangles].mean(axis=1)
    kept = [(cv2.pointPolygonTest(contour, (float(x), float(y)), False) > 0) == inside for x, y in centres]
    return np.asarray(triangles[kept], np.int32)
