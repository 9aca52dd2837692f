"""Z-buffer rasteriser with barycentric interpolation and shadow maps.

Two implementations share the same float32 arithmetic: numba, about ten times faster, and numpy where numba is not
installed. Their images agree except for a few pixels on edges shared by two triangles.

An existing renderer gains nothing: VTK 9.7 on Mesa draws the bare mesh in flat colour at 512×512 in 6.6 ms of CPU time,
while this finds triangles and barycentric weights in 5.5 ms. VTK also takes 565 MB and, like pyrender, needs the
system's EGL or OSMesa.
"""

from __future__ import annotations

import numpy as np

from deepfakemnist.errors import ConfigError

try:
    import numba
except ImportError:
    numba = None  # type: ignore[assignment]


def use_numba(fast: bool | None) -> bool:
    """Resolve the choice of implementation: ``None`` uses numba if it is installed.

    Raises:
        ConfigError: numba is requested but not installed.
    """
    if fast and numba is None:
        raise ConfigError("fast rendering needs the package numba (pip install numba)")
    return numba is not None if fast is None else fast


_MIN_AREA = np.float32(1e-6)  # pixels²; smaller triangles are degenerate
_SHADOW_PIXEL_M, _SHADOW_BIAS_M = 0.0025, np.float32(0.005)  # finer than the mesh; bias against self-shadowing


def visibility(
    screen: np.ndarray, faces: np.ndarray, two_sided: np.ndarray, size: tuple[int, int], fast: bool | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the nearest triangle at every pixel centre.

    Args:
        screen: (V,3) float32; x right and y down in pixels (pixel centres are integers), z away from the camera.
        faces: (F,3) int32 vertex indices; front faces run counter-clockwise on the screen.
        two_sided: (F,) bool, triangles without back-face culling.
        size: width and height in pixels.
        fast: numba (True) or numpy (False); None uses numba if it is installed.

    Returns:
        (H,W) int32, the visible triangle or -1; (H,W,2) float32, barycentric weights of its first two corners; (H,W)
        float32, depth, infinite where there is none. Weights are linear in screen space: at portrait distance and with
        triangles of a few pixels, the missing perspective correction is invisible.
    """
    width, height = size
    triangle = np.full((height, width), -1, np.int32)
    weights = np.zeros((height, width, 2), np.float32)
    depth = np.full((height, width), np.inf, np.float32)
    rasterise = _visibility_numba if use_numba(fast) else _visibility_numpy
    rasterise(screen, faces, two_sided, depth, triangle, weights)
    return triangle, weights, depth


def interpolate(
    values: np.ndarray, corners: np.ndarray, triangle: np.ndarray, weights: np.ndarray, fast: bool | None = None
) -> np.ndarray:
    """Interpolate corner values barycentrically at every covered pixel.

    Args:
        values: (N,C) float32.
        corners: (F,3) int32, rows of ``values`` per triangle.
        triangle: (P,) int32, triangle of every pixel.
        weights: (P,2) float32, barycentric weights of the first two corners.
        fast: as in :func:`visibility`.

    Returns:
        (P,C) float32.
    """
    if use_numba(fast):
        out = np.empty((len(triangle), values.shape[1]), np.float32)
        _interpolate_numba(values, corners, triangle, weights, out)
        return out
    a, b, c = (values[corners[triangle, k]] for k in range(3))
    first, second = weights[:, :1], weights[:, 1:]
    return a * first + b * second + c * (np.float32(1) - first - second)


def unshadowed(vertices: np.ndarray, faces: np.ndarray, towards: np.ndarray, fast: bool | None = None) -> np.ndarray:
    """Return the vertices that a directional light reaches, by shadow map.

    Args:
        vertices: (V,3) float32, metres.
        faces: (F,3) int32, two-sided shadow casters.
        towards: (3,) direction to the light.
        fast: as in :func:`visibility`.

    Returns:
        (V,) bool, False in shadow.
    """
    towards = towards / np.linalg.norm(towards)
    side = np.cross(towards, [0.0, 0.0, 1.0] if abs(towards[2]) < 0.9 else [1.0, 0.0, 0.0])
    side /= np.linalg.norm(side)
    screen = (vertices @ np.stack([side, np.cross(side, towards), -towards], 1)).astype(np.float32)
    screen[:, :2] = (screen[:, :2] - screen[:, :2].min(0)) / _SHADOW_PIXEL_M + 1
    width, height = (int(np.ceil(extent)) + 2 for extent in screen[:, :2].max(0))
    _, _, depth = visibility(screen, faces, np.ones(len(faces), bool), (width, height), fast)
    x, y = np.round(screen[:, :2].T).astype(int)
    return screen[:, 2] <= depth[y, x] + _SHADOW_BIAS_M


def _visibility_loop(
    screen: np.ndarray,
    faces: np.ndarray,
    two_sided: np.ndarray,
    depth: np.ndarray,
    triangle: np.ndarray,
    weights: np.ndarray,
) -> None:
    height, width = depth.shape
    one, zero = np.float32(1), np.float32(0)
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay, bx, by, cx, cy = screen[a, 0], screen[a, 1], screen[b, 0], screen[b, 1], screen[c, 0], screen[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if (area > 0 and not two_sided[f]) or abs(area) < _MIN_AREA:
            continue
        left, right = max(int(np.ceil(min(ax, bx, cx))), 0), min(int(np.floor(max(ax, bx, cx))), width - 1)
        top, bottom = max(int(np.ceil(min(ay, by, cy))), 0), min(int(np.floor(max(ay, by, cy))), height - 1)
        if left > right:
            continue
        nearest = min(screen[a, 2], screen[b, 2], screen[c, 2])
        scale = one / area
        # Weights are linear along a row, so their signs bound its span; long thin triangles gain most.
        u_step, v_step = (by - cy) * scale, (cy - ay) * scale
        w_step = -u_step - v_step
        for y in range(top, bottom + 1):
            py, edge = np.float32(y), np.float32(left)
            u = ((bx - edge) * (cy - py) - (by - py) * (cx - edge)) * scale
            v = ((cx - edge) * (ay - py) - (cy - py) * (ax - edge)) * scale
            first, last = np.float32(left), np.float32(right)
            for start, step in ((u, u_step), (v, v_step), (one - u - v, w_step)):
                if step > zero:
                    first = max(first, edge - start / step - one)
                elif step < zero:
                    last = min(last, edge - start / step + one)
            for x in range(int(first), int(last) + 1):
                if depth[y, x] <= nearest:
                    continue
                px = np.float32(x)
                u = ((bx - px) * (cy - py) - (by - py) * (cx - px)) * scale
                v = ((cx - px) * (ay - py) - (cy - py) * (ax - px)) * scale
                w = one - u - v
                if u >= zero and v >= zero and w >= zero:
                    z = u * screen[a, 2] + v * screen[b, 2] + w * screen[c, 2]
                    if z < depth[y, x]:
                        depth[y, x] = z
                        triangle[y, x] = f
                        weights[y, x, 0] = u
                        weights[y, x, 1] = v


def _interpolate_loop(
    values: np.ndarray, corners: np.ndarray, triangle: np.ndarray, weights: np.ndarray, out: np.ndarray
) -> None:
    one = np.float32(1)
    for p in range(triangle.shape[0]):
        t = triangle[p]
        a, b, c = corners[t, 0], corners[t, 1], corners[t, 2]
        u, v = weights[p, 0], weights[p, 1]
        w = one - u - v
        for k in range(values.shape[1]):
            out[p, k] = values[a, k] * u + values[b, k] * v + values[c, k] * w


if numba is not None:
    _visibility_numba = numba.njit(cache=True, error_model="numpy")(_visibility_loop)
    _interpolate_numba = numba.njit(cache=True)(_interpolate_loop)


def _visibility_numpy(
    screen: np.ndarray,
    faces: np.ndarray,
    two_sided: np.ndarray,
    depth: np.ndarray,
    triangle: np.ndarray,
    weights: np.ndarray,
) -> None:
    """Test all pixels of all triangles' bounding boxes at once; the nearest triangle is written last."""
    height, width = triangle.shape
    corners = screen[faces]
    (ax, bx, cx), (ay, by, cy) = corners[..., 0].T, corners[..., 1].T
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    low = np.maximum(np.ceil(corners[..., :2].min(1)), 0)
    extent = np.minimum(np.floor(corners[..., :2].max(1)), (width - 1, height - 1)) - low + 1
    kept = np.flatnonzero(((area < 0) | two_sided) & (np.abs(area) >= _MIN_AREA) & (extent > 0).all(1))
    scale = np.float32(1) / np.where(np.abs(area) < _MIN_AREA, np.float32(1), area)
    columns = extent[kept, 0].astype(np.int64)
    count = columns * extent[kept, 1].astype(np.int64)
    f = np.repeat(kept, count)
    step = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    columns = np.repeat(columns, count)
    x = (low[f, 0] + step % columns).astype(np.float32)
    y = (low[f, 1] + step // columns).astype(np.float32)
    u = ((bx[f] - x) * (cy[f] - y) - (by[f] - y) * (cx[f] - x)) * scale[f]
    v = ((cx[f] - x) * (ay[f] - y) - (cy[f] - y) * (ax[f] - x)) * scale[f]
    w = np.float32(1) - u - v
    inside = np.flatnonzero((u >= 0) & (v >= 0) & (w >= 0))
    f, x, y, u, v, w = (part[inside] for part in (f, x, y, u, v, w))
    z = u * corners[f, 0, 2] + v * corners[f, 1, 2] + w * corners[f, 2, 2]
    # Far to near; at equal depth the first triangle wins, as in the loop, so later ones are written before it.
    order = np.lexsort((-f, -z))
    pixel = (y.astype(np.int64) * width + x.astype(np.int64))[order]
    triangle.reshape(-1)[pixel] = f[order]
    weights.reshape(-1, 2)[pixel] = np.stack([u, v], 1)[order]
    depth.reshape(-1)[pixel] = z[order]
