"""From positions and light to colour: light is computed at vertices, colour is looked up at pixels, eyes are exact."""

from __future__ import annotations

import numpy as np

from deepfakemnist.actors.raster import interpolate, numba, reaches, use_numba
from deepfakemnist.actors.scene import Light

#: How far light creeps round the terminator of skin, by colour: red scatters farthest.
_WRAP = np.array([0.42, 0.26, 0.20], np.float32)
_SHADOW_LEFT = 0.22  # share of the key light that reaches a shadow by way of the room
_BROAD, _NARROW = 0.32, 0.45  # highlights of exponent 8 and 48

#: Angles from the gaze on the eyeball, radians: pupil, iris (11.7 mm across on a ball of 24 mm), limbus.
_PUPIL, _IRIS, _LIMBUS = 0.19, 0.46, 0.52


def vertex_normals(vertices: np.ndarray, faces: np.ndarray, order: tuple[np.ndarray, ...]) -> np.ndarray:
    """Return (V,3) unit normals, the area-weighted mean of the triangles at each vertex.

    ``order`` is :func:`normal_order` of the faces: sums by segment are several times faster than np.add.at.
    """
    triangles, starts, used = order
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    flat = np.cross(b - a, c - a)
    normals = np.zeros_like(vertices)
    normals[used] = np.add.reduceat(flat[triangles], starts, 0)
    return normals / (np.linalg.norm(normals, axis=1, keepdims=True) + np.float32(1e-12))


def normal_order(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return triangles sorted by vertex, where each vertex's run starts, and the vertices."""
    order = np.argsort(faces, axis=None, kind="stable")
    vertices = faces.ravel()[order]
    starts = np.flatnonzero(np.r_[True, vertices[1:] != vertices[:-1]])
    return order // 3, starts, vertices[starts]


def light_vertices(
    vertices: np.ndarray,
    normals: np.ndarray,
    open_sky: np.ndarray,
    faces: np.ndarray,
    solid: int,
    light: Light,
    fast: bool | None,
) -> np.ndarray:
    """Return (V,5) float32: light falling on every vertex (RGB), broad and narrow highlight.

    Only the first ``solid`` vertices and the ``faces`` among them cast and take shadows: hair and glasses are too
    thin for shadows at the vertices of the mesh.
    """
    towards = light.towards_key
    toward = normals @ towards
    lit = np.ones(len(vertices), np.float32)
    lit[:solid] = reaches(vertices[:solid], faces, towards, fast)
    lit = _SHADOW_LEFT + (1 - _SHADOW_LEFT) * lit
    wrapped = np.clip((toward[:, None] + _WRAP) / (1 + _WRAP), 0, 1)
    up = 0.5 + 0.5 * normals[:, 2:]
    ahead = np.clip(-normals[:, 1:2], 0, 1)
    room = up * light.sky + (1 - up) * light.floor + ahead * light.front
    half = towards + np.array([0, -1, 0], np.float32)
    half /= np.linalg.norm(half)
    mirror = np.clip(normals @ half.astype(np.float32), 0, 1)
    out = np.empty((len(vertices), 5), np.float32)
    out[:, :3] = wrapped * light.key * lit[:, None] + room * open_sky[:, None]
    squared = mirror * mirror
    broad = squared * squared * squared * squared  # to the power of 8: cheaper than a general power, and enough
    reflected = lit * open_sky
    out[:, 3] = _BROAD * broad * reflected
    broad *= broad
    out[:, 4] = _NARROW * broad * broad * broad * reflected
    return out * np.float32(light.exposure)


def colour_pixels(
    picture: np.ndarray,
    triangle: np.ndarray,
    weights: np.ndarray,
    lit: tuple[np.ndarray, np.ndarray],
    places: tuple[np.ndarray, np.ndarray],
    atlas: np.ndarray,
    fast: bool | None,
) -> None:
    """Colour every pixel that sees a triangle, in place.

    Args:
        picture: (H,W,3) float32 linear.
        triangle: (H,W) int32; weights: (H,W,2) float32; both from :func:`raster.visibility`.
        lit: what :func:`light_vertices` returned, (V,5), and the triangles' corners in it, (F,3).
        places: (C,2) float32 atlas positions x, y and the triangles' corners in them, (F,3).
        atlas: (A,B,4) float32, see :mod:`deepfakemnist.actors.atlas`.
        fast: numba (True), numpy (False) or what is there (None).
    """
    if use_numba(fast):
        _colour_numba(picture, triangle, weights, *lit, *places, atlas)
        return
    pixels = np.flatnonzero(triangle.ravel() >= 0)
    seen, share = triangle.ravel()[pixels], weights.reshape(-1, 2)[pixels]
    light = interpolate(*lit, seen, share, fast)
    place = interpolate(*places, seen, share, fast)
    texel = atlas[place[:, 1].astype(np.int32), place[:, 0].astype(np.int32)]
    gloss = texel[:, 3]
    shine = gloss * (light[:, 3] + gloss * light[:, 4])
    picture.reshape(-1, 3)[pixels] = texel[:, :3] * light[:, :3] + shine[:, None]


def _colour_loop(
    picture: np.ndarray,
    triangle: np.ndarray,
    weights: np.ndarray,
    light: np.ndarray,
    faces: np.ndarray,
    positions: np.ndarray,
    corners: np.ndarray,
    atlas: np.ndarray,
) -> None:
    one = np.float32(1)
    for y in range(triangle.shape[0]):
        for x in range(triangle.shape[1]):
            t = triangle[y, x]
            if t < 0:
                continue
            u, v = weights[y, x, 0], weights[y, x, 1]
            w = one - u - v
            a, b, c = corners[t, 0], corners[t, 1], corners[t, 2]
            column = int(positions[a, 0] * u + positions[b, 0] * v + positions[c, 0] * w)
            row = int(positions[a, 1] * u + positions[b, 1] * v + positions[c, 1] * w)
            gloss = atlas[row, column, 3]
            a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
            broad = light[a, 3] * u + light[b, 3] * v + light[c, 3] * w
            narrow = light[a, 4] * u + light[b, 4] * v + light[c, 4] * w
            shine = gloss * (broad + gloss * narrow)
            for k in range(3):
                falls = light[a, k] * u + light[b, k] * v + light[c, k] * w
                picture[y, x, k] = atlas[row, column, k] * falls + shine


if numba is not None:
    _colour_numba = numba.njit(cache=True)(_colour_loop)


def paint_eye(
    colour: np.ndarray,
    points: np.ndarray,
    centre: np.ndarray,
    gaze: np.ndarray,
    lid: float,
    iris: np.ndarray,
    light: Light,
) -> np.ndarray:
    """Return the (P,3) linear colours of an eyeball's pixels.

    Args:
        colour: (P,3) the white of the eye, lit.
        points: (P,3) where they lie on the ball; centre: (3,) the ball's; metres.
        gaze: (3,) unit, where the eye looks; lid: height of the upper lid's edge, metres, whose shadow falls on it.
        iris: (3,) linear colour.
        light: gives the highlight's place.
    """
    towards = points - centre
    towards /= np.linalg.norm(towards, axis=1, keepdims=True) + 1e-9
    angle = np.arccos(np.clip(towards @ gaze, -1, 1))
    in_iris = _step(_LIMBUS, _IRIS - 0.02, angle)
    in_pupil = _step(_PUPIL + 0.03, _PUPIL - 0.03, angle)
    spokes = 1 - 0.45 * _step(_IRIS - 0.12, _LIMBUS, angle) + 0.35 * _step(_PUPIL, _IRIS, angle) * (angle < _IRIS)
    white = np.array([0.60, 0.57, 0.55], np.float32)
    shaded = colour * (1 + (iris * 1.5 / white * spokes[:, None] - 1) * in_iris[:, None])
    shaded *= (1 - 0.96 * in_pupil)[:, None]
    shaded *= (0.72 + 0.28 * _step(1.05, 0.55, np.arccos(np.clip(-towards[:, 1], -1, 1))))[:, None]  # corners are dim
    shaded *= (0.62 + 0.38 * _step(0.0005, 0.0040, lid - points[:, 2]))[:, None]
    half = light.towards_key + np.array([0, -1, 0], np.float32)
    half /= np.linalg.norm(half)
    glint = np.clip(towards @ half, 0, 1) ** 260
    return shaded + (0.9 * glint)[:, None]


def _step(low: float, high: float, value: np.ndarray) -> np.ndarray:
    share = np.clip((value - low) / (high - low), 0, 1)
    return (share * share * (3 - 2 * share)).astype(np.float32)
