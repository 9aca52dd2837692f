"""Shading of the mesh: lighting per vertex, texture lookup per pixel, and a procedural eye shader per pixel."""

from __future__ import annotations

import numpy as np

from deepfakemnist.actors.scene import Light
from deepfakemnist.media.raster import interpolate, numba, unshadowed, use_numba

#: Wrap lighting: how far light extends beyond the terminator on skin, per RGB channel; red scatters farthest.
_WRAP = np.array([0.42, 0.26, 0.20], np.float32)
_SHADOW_FLOOR = 0.22  # share of the key light that unshadowed shadows via the room
_BROAD, _NARROW = 0.32, 0.45  # strengths of the specular lobes with exponent 8 and 48

#: Angular radii on the eyeball, radians: pupil, iris (11.7 mm diameter on a ball of 24 mm), limbus.
_PUPIL, _IRIS, _LIMBUS = 0.19, 0.46, 0.52


def vertex_normals(vertices: np.ndarray, faces: np.ndarray, order: tuple[np.ndarray, ...]) -> np.ndarray:
    """Return (V,3) unit vertex normals, area-weighted over adjacent triangles.

    ``order`` is :func:`normal_order` of the faces: segmented sums are several times faster than np.add.at.
    """
    triangles, starts, used = order
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    flat = np.cross(b - a, c - a)
    normals = np.zeros_like(vertices)
    normals[used] = np.add.reduceat(flat[triangles], starts, 0)
    return normals / (np.linalg.norm(normals, axis=1, keepdims=True) + np.float32(1e-12))


def normal_order(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return triangles sorted by vertex, the start of each vertex's segment, and the vertices."""
    order = np.argsort(faces, axis=None, kind="stable")
    vertices = faces.ravel()[order]
    starts = np.flatnonzero(np.r_[True, vertices[1:] != vertices[:-1]])
    return order // 3, starts, vertices[starts]


def light_vertices(
    vertices: np.ndarray,
    normals: np.ndarray,
    ambient: np.ndarray,
    faces: np.ndarray,
    solid: int,
    light: Light,
    fast: bool | None,
) -> np.ndarray:
    """Return (V,5) float32 per-vertex lighting: diffuse RGB, broad and narrow specular highlight.

    Only the first ``solid`` vertices and the ``faces`` among them cast and receive shadows: hair and glasses are too
    thin for per-vertex shadows.
    """
    towards = light.key_direction
    cosine = normals @ towards
    lit = np.ones(len(vertices), np.float32)
    lit[:solid] = unshadowed(vertices[:solid], faces, towards, fast)
    lit = _SHADOW_FLOOR + (1 - _SHADOW_FLOOR) * lit
    wrapped = np.clip((cosine[:, None] + _WRAP) / (1 + _WRAP), 0, 1)
    up = 0.5 + 0.5 * normals[:, 2:]
    ahead = np.clip(-normals[:, 1:2], 0, 1)
    room = up * light.sky + (1 - up) * light.floor + ahead * light.front
    half = towards + np.array([0, -1, 0], np.float32)
    half /= np.linalg.norm(half)
    mirror = np.clip(normals @ half.astype(np.float32), 0, 1)
    out = np.empty((len(vertices), 5), np.float32)
    out[:, :3] = wrapped * light.key * lit[:, None] + room * ambient[:, None]
    squared = mirror * mirror
    broad = squared * squared * squared * squared  # power of 8 by squaring, cheaper than np.power
    reflected = lit * ambient
    out[:, 3] = _BROAD * broad * reflected
    broad *= broad
    out[:, 4] = _NARROW * broad * broad * broad * reflected
    return out * np.float32(light.exposure)


def colour_pixels(
    image: np.ndarray,
    triangle: np.ndarray,
    weights: np.ndarray,
    lit: tuple[np.ndarray, np.ndarray],
    textured: tuple[np.ndarray, np.ndarray],
    atlas: np.ndarray,
    fast: bool | None,
) -> None:
    """Colour every pixel that a triangle covers, in place: texture times diffuse light, plus highlights.

    Args:
        image: (H,W,3) float32 linear.
        triangle: (H,W) int32; weights: (H,W,2) float32; both from :func:`raster.visibility`.
        lit: (V,5) result of :func:`light_vertices`, and (F,3) indices of the triangles' corners into it.
        textured: (C,2) float32 atlas coordinates x, y, and (F,3) indices of the triangles' corners into them.
        atlas: (A,B,4) float32, see :mod:`deepfakemnist.actors.atlas`.
        fast: numba (True), numpy (False), or numba if installed (None).
    """
    if use_numba(fast):
        _colour_numba(image, triangle, weights, *lit, *textured, atlas)
        return
    pixels = np.flatnonzero(triangle.ravel() >= 0)
    visible, barycentric = triangle.ravel()[pixels], weights.reshape(-1, 2)[pixels]
    light = interpolate(*lit, visible, barycentric, fast)
    xy = interpolate(*textured, visible, barycentric, fast)
    texel = atlas[xy[:, 1].astype(np.int32), xy[:, 0].astype(np.int32)]
    gloss = texel[:, 3]
    shine = gloss * (light[:, 3] + gloss * light[:, 4])
    image.reshape(-1, 3)[pixels] = texel[:, :3] * light[:, :3] + shine[:, None]


def _colour_loop(
    image: np.ndarray,
    triangle: np.ndarray,
    weights: np.ndarray,
    light: np.ndarray,
    faces: np.ndarray,
    atlas_xy: np.ndarray,
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
            column = int(atlas_xy[a, 0] * u + atlas_xy[b, 0] * v + atlas_xy[c, 0] * w)
            row = int(atlas_xy[a, 1] * u + atlas_xy[b, 1] * v + atlas_xy[c, 1] * w)
            gloss = atlas[row, column, 3]
            a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
            broad = light[a, 3] * u + light[b, 3] * v + light[c, 3] * w
            narrow = light[a, 4] * u + light[b, 4] * v + light[c, 4] * w
            shine = gloss * (broad + gloss * narrow)
            for k in range(3):
                diffuse = light[a, k] * u + light[b, k] * v + light[c, k] * w
                image[y, x, k] = atlas[row, column, k] * diffuse + shine


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
        colour: (P,3) lit colour of the sclera.
        points: (P,3) positions on the eyeball; centre: (3,) its centre; metres.
        gaze: (3,) unit gaze direction; lid: height of the upper lid's edge, metres, which casts a shadow.
        iris: (3,) linear colour.
        light: places the specular highlight.
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
    shaded *= (0.72 + 0.28 * _step(1.05, 0.55, np.arccos(np.clip(-towards[:, 1], -1, 1))))[
        :, None
    ]  # darker at the corners
    shaded *= (0.62 + 0.38 * _step(0.0005, 0.0040, lid - points[:, 2]))[:, None]
    half = light.key_direction + np.array([0, -1, 0], np.float32)
    half /= np.linalg.norm(half)
    glint = np.clip(towards @ half, 0, 1) ** 260
    return shaded + (0.9 * glint)[:, None]


def _step(low: float, high: float, value: np.ndarray) -> np.ndarray:
    share = np.clip((value - low) / (high - low), 0, 1)
    return (share * share * (3 - 2 * share)).astype(np.float32)
