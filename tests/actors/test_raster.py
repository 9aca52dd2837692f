"""Z-buffer rasteriser: visibility, interpolation and shadow maps, for numba and numpy."""

import numpy as np
import pytest

from deepfakemnist.actors import Actor
from deepfakemnist.media import raster

pytestmark = pytest.mark.numeric

needs_numba = pytest.mark.skipif(raster.numba is None, reason="numba is not installed")
BOTH = [pytest.param(False, id="numpy"), pytest.param(True, id="numba", marks=needs_numba)]


@pytest.mark.slow
@pytest.mark.parametrize("fast", BOTH)
def test_the_nearest_triangle_is_visible_and_its_corners_are_interpolated(fast):
    far = [(0, 0, 2), (0, 20, 2), (20, 0, 2)]
    near = [(0, 0, 1), (0, 8, 1), (8, 0, 1)]
    screen = np.array(far + near, np.float32)
    faces = np.array([[0, 1, 2], [3, 4, 5]], np.int32)
    triangle, weights, depth = raster.visibility(screen, faces, np.zeros(2, bool), (20, 20), fast)
    assert triangle[2, 2] == 1 and triangle[9, 9] == 0 and triangle[15, 15] == -1
    assert depth[[2, 9, 15], [2, 9, 15]] == pytest.approx([1, 2, np.inf])
    x = raster.interpolate(screen[:, :1], faces, triangle[9:10, 9], weights[9:10, 9], fast)
    assert x[0, 0] == pytest.approx(9, abs=1e-4)


@pytest.mark.parametrize("fast", BOTH)
def test_a_back_face_is_visible_only_when_two_sided(fast):
    screen = np.array([(0, 0, 1), (9, 0, 1), (0, 9, 1)], np.float32)
    faces = np.array([[0, 1, 2]], np.int32)
    seen = [raster.visibility(screen, faces, np.array([two]), (10, 10), fast)[0][2, 2] for two in (False, True)]
    assert seen == [-1, 0]


@pytest.mark.parametrize("fast", BOTH)
def test_offscreen_and_degenerate_triangles_are_skipped(fast):
    screen = np.array([(-50, -50, 1), (-50, -40, 1), (-40, -50, 1), (3, 3, 1)], np.float32)
    faces = np.array([[0, 1, 2], [3, 3, 3]], np.int32)
    triangle, _, _ = raster.visibility(screen, faces, np.ones(2, bool), (10, 10), fast)
    assert (triangle == -1).all()


@pytest.mark.parametrize("fast", BOTH)
def test_vertices_behind_a_triangle_are_in_shadow(fast):
    wall = [(-0.1, 0, -0.1), (0.1, 0, -0.1), (0, 0, 0.1)]
    behind, to_the_side = (0, 0.05, -0.02), (0.3, 0.05, 0.0)
    vertices = np.array([*wall, behind, to_the_side], np.float32)
    lit = raster.unshadowed(vertices, np.array([[0, 1, 2]], np.int32), np.array([0.0, -1.0, 0.0]), fast)
    assert lit.tolist() == [True, True, True, False, True]


@pytest.mark.slow
@needs_numba
@pytest.mark.parametrize("identity", [0, 1, 5])
def test_numba_and_numpy_render_the_same_image(bank, identity):
    images = [Actor(bank, identity, 4, fast=fast).render(actions={"jawOpen": 0.5}) for fast in (True, False)]
    difference = np.abs(images[0].astype(int) - images[1].astype(int)).max(-1)
    assert (difference <= 1).mean() >= 0.999
