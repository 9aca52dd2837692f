"""Rendering of a moved sheet: where every pixel of a frame comes from in the source picture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from deepfakemnist.animate.mesh.pixel_loops import places, samples_at, samples_per_triangle, spread_and_motion
from deepfakemnist.animate.mesh.sheet import Sheet
from deepfakemnist.animate.mesh.tracking import Points
from deepfakemnist.media.raster import visibility

Picture = NDArray[np.uint8]

#: Samples per pixel and direction.
_SAMPLES = 2
#: Pixels whose samples come from places farther apart than this, source pixels, are averaged over them.
_APART = 1.2
#: OpenCV maps at most so many rows.
_LONGEST = 32_000


@dataclass(frozen=True, eq=False)
class Rendered:
    """A frame of the sheet."""

    layers: NDArray[np.float32]
    """(H, W, C) of the source's layers, moved; 0 where the sheet is not."""
    covered: NDArray[np.float32]
    """(H, W), 0..1, share of a pixel that the sheet covers."""
    moved: NDArray[np.float32]
    """(H, W), how far the pixel's content has moved, pixels."""
    unseen: float
    """Share of the face, 0..1, that the source does not show: its pixels there are smeared."""


def render(sheet: Sheet, points: Points, layers: Picture, texture: Points | None = None, border: int = 0) -> Rendered:
    """Draw the sheet with its vertices at ``points`` (V, 3).

    Args:
        sheet: of the source.
        points: vertices in the frame, pixels.
        layers: (H + 2 × border, W + 2 × border, C) uint8 picture of the source, with up to four channels.
        texture: (V, 3) where the vertices take their pixels from, if not where they are in the source.
        border: of ``layers``, pixels beyond the source picture and the frame.
    """
    height, width = (side - 2 * border for side in layers.shape[:2])
    screen = points.astype(np.float32)
    # Pixel centres are integers; sample centres of the finer grid as well.
    screen[:, :2] = (screen[:, :2] + 0.5) * _SAMPLES - 0.5
    one_sided = np.zeros(len(sheet.triangles), bool)
    triangle, weights, _ = visibility(screen, sheet.triangles, one_sided, (width * _SAMPLES, height * _SAMPLES))
    seen = triangle >= 0
    plane = np.ascontiguousarray((sheet.vertices if texture is None else texture)[:, :2], dtype=np.float32)
    source = places(plane, sheet.triangles, triangle, weights)
    share = cv2.resize(seen.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    covered = np.asarray(share, np.float32)
    centre = np.asarray(cv2.resize(source, (width, height), interpolation=cv2.INTER_AREA), np.float32)
    edges, moved = spread_and_motion(source, centre, covered, np.float32(border), np.float32(_APART))
    across, down = centre[..., 0] + border, centre[..., 1] + border
    drawn = cv2.remap(layers, across, down, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    drawn = drawn.astype(np.float32).reshape(height, width, -1)
    if edges.any():
        drawn[edges] = _averaged(layers, *samples_at(edges, source, triangle, np.float32(border)))
    if not covered.all():
        drawn[covered == 0] = 0
    drawn_of = samples_per_triangle(triangle, len(sheet.triangles))
    unseen = drawn_of[sheet.unseen].sum() / max(drawn_of[sheet.face].sum(), 1)
    return Rendered(drawn, covered, moved, float(unseen))


def _averaged(layers: Picture, samples: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the mean (N, C) of layers at several places per pixel, (S, N, 2), as far as they are known, (S, N)."""
    total = np.zeros((len(samples[0]), layers.shape[2]), np.float32)
    count = np.zeros((len(total), 1), np.float32)
    for place, is_known in zip(samples, known, strict=True):
        for begin in range(0, len(place), _LONGEST):
            part = place[begin : begin + _LONGEST]
            found = cv2.remap(layers, part[:, 0], part[:, 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            share = is_known[begin : begin + _LONGEST, None].astype(np.float32)
            total[begin : begin + _LONGEST] += found.reshape(len(part), -1) * share
            count[begin : begin + _LONGEST] += share
    return np.asarray(total / np.maximum(count, 1), np.float32)
