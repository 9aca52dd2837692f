"""Loops over the pixels of a frame, compiled by numba: what NumPy needs many passes over large arrays for.

Arithmetic is float32 in the order in which NumPy would do it, without fused multiply-add, so that every processor gives
the same pixels.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@numba.njit(cache=True)
def places(values: Floats, corners: NDArray[np.int32], triangle: NDArray[np.int32], weights: Floats) -> Floats:
    """Interpolate ``values`` (V, 2) of the corners of the triangle at every sample, (H, W, 2); 0 where there is none.

    Args:
        values: (V, 2).
        corners: (F, 3) rows of ``values`` per triangle.
        triangle: (H, W) triangle of every sample, or -1.
        weights: (H, W, 2) barycentric weights of the first two corners.
    """
    height, width = triangle.shape
    out = np.zeros((height, width, 2), np.float32)
    one = np.float32(1)
    for y in range(height):
        for x in range(width):
            t = triangle[y, x]
            if t < 0:
                continue
            a, b, c = corners[t, 0], corners[t, 1], corners[t, 2]
            u, v = weights[y, x, 0], weights[y, x, 1]
            w = one - u - v
            for k in range(2):
                out[y, x, k] = values[a, k] * u + values[b, k] * v + values[c, k] * w
    return out


@numba.njit(cache=True)
def samples_per_triangle(triangle: NDArray[np.int32], triangles: int) -> NDArray[np.int64]:
    """Return by how many samples each of so many triangles is seen; ``triangle`` (H, W) holds -1 where none is."""
    counts = np.zeros(triangles, np.int64)
    for t in triangle.ravel():
        if t >= 0:
            counts[t] += 1
    return counts


@numba.njit(cache=True)
def spread_and_motion(
    samples: Floats, centre: Floats, covered: Floats, border: np.float32, apart: np.float32
) -> tuple[NDArray[np.bool_], Floats]:
    """Return which pixels need the mean of their samples, and how far each has moved, both (H, W).

    Args:
        samples: (2 H, 2 W, 2) places of the samples in the source picture.
        centre: (H, W, 2) their means.
        covered: (H, W) share of a pixel that has places.
        border: of the source picture.
        apart: a pixel whose samples are farther apart is averaged; and so is one that is covered in part.
    """
    height, width = covered.shape
    edges = np.zeros((height, width), np.bool_)
    moved = np.zeros((height, width), np.float32)
    zero, one = np.float32(0), np.float32(1)
    for y in range(height):
        row, lower = 2 * y, 2 * y + 1
        for x in range(width):
            left, right = 2 * x, 2 * x + 1
            spread = zero
            for k in range(2):
                # The two diagonals of a pixel's samples.
                spread = max(spread, abs(samples[row, left, k] - samples[lower, right, k]))
                spread = max(spread, abs(samples[row, right, k] - samples[lower, left, k]))
            share = covered[y, x]
            edges[y, x] = spread > apart or (share > zero and share < one)
            if share > zero:
                across = (centre[y, x, 0] + border) - (np.float32(x) + border)
                down = (centre[y, x, 1] + border) - (np.float32(y) + border)
                moved[y, x] = np.sqrt(across * across + down * down)
    return edges, moved


@numba.njit(cache=True)
def samples_at(
    edges: NDArray[np.bool_], samples: Floats, triangle: NDArray[np.int32], border: np.float32
) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the places (4, N, 2), in the source picture with its border, of the samples of N pixels, row by row.

    Args:
        edges: (H, W) the pixels.
        samples, triangle: (2 H, 2 W, 2), (2 H, 2 W) of every sample.
        border: of the source picture.

    Returns: also whether there is a triangle, (4, N).
    """
    count = edges.sum()
    near, known = np.empty((4, count, 2), np.float32), np.empty((4, count), np.bool_)
    n = 0
    for y in range(edges.shape[0]):
        for x in range(edges.shape[1]):
            if not edges[y, x]:
                continue
            for s in range(4):
                row, column = 2 * y + s // 2, 2 * x + s % 2
                known[s, n] = triangle[row, column] >= 0
                near[s, n, 0] = samples[row, column, 0] + border
                near[s, n, 1] = samples[row, column, 1] + border
            n += 1
    return near, known


@numba.njit(cache=True)
def blended(layers: Floats, covered: Floats, background: Floats, picture: Floats, share: Floats) -> Floats:
    """Return a frame (H, W, 3): the layers over the background, and where nothing moves the picture as it was.

    Args:
        layers: (H, W, 4) colours and mask, 0..255.
        covered: (H, W) share of a pixel that the layers cover.
        background, picture: (H, W, 3).
        share: (H, W) how much of the new frame is shown, limited to 0..1.
    """
    height, width = covered.shape
    out = np.empty((height, width, 3), np.float32)
    zero, one, full = np.float32(0), np.float32(1), np.float32(255)
    for y in range(height):
        for x in range(width):
            opacity = layers[y, x, 3] / full * covered[y, x]
            shown = min(max(share[y, x], zero), one)
            for k in range(3):
                composed = layers[y, x, k] * opacity + background[y, x, k] * (one - opacity)
                out[y, x, k] = picture[y, x, k] + shown * (composed - picture[y, x, k])
    return out


@numba.njit(cache=True)
def brighten(picture: NDArray[np.uint8], factor: Floats, out: NDArray[np.uint8]) -> None:
    """Write the first three channels of a picture (H, W, C), times a factor (H, W) and rounded, to ``out``."""
    height, width = factor.shape
    zero, full = np.float32(0), np.float32(255)
    for y in range(height):
        for x in range(width):
            for k in range(3):
                value = np.rint(np.float32(picture[y, x, k]) * factor[y, x])
                out[y, x, k] = np.uint8(min(max(value, zero), full))
