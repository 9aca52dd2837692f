"""Crop policies: the crop box of every frame, given the face boxes.

=============== ===================================================================================================
square-track    one square around all boxes, enlarged by a margin: head motion stays head motion. FOMM's crop-video is
                this rule with margin 0.1, and FOMM's VoxCeleb crops add edge ``reject``
vox-metadata    the annotated box, stretched to a square, as in FOMM's load_videos.py
ff-1.3          a square that follows the face, 1.3 times its longer side and never outside the picture, as the
                FaceForensics++ code crops frames for detectors; not for animation, since it hides head motion
as-cropped      the whole picture, which must be square: for clips that are already cropped
=============== ===================================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from deepfakemnist.config.stages import CropSettings
from deepfakemnist.errors import Rejected
from deepfakemnist.faces.detect import Face
from deepfakemnist.media.picture import Picture, resized

#: FaceForensics++, classification/detect_from_video.py: scale of get_boundingbox.
_FF_SCALE = 1.3


@dataclass(frozen=True)
class CropBox:
    """A rectangle in pixels of the upright source picture; it may extend outside the picture."""

    left: int
    top: int
    width: int
    height: int

    def outside(self, width: int, height: int) -> float:
        """Return the fraction of the rectangle, 0..1, that lies outside a picture of the given size."""
        across = max(0, min(self.left + self.width, width) - max(self.left, 0))
        down = max(0, min(self.top + self.height, height) - max(self.top, 0))
        return 1 - across * down / (self.width * self.height)

    def shifted_inside(self, width: int, height: int) -> CropBox:
        """Return the rectangle shifted just far enough to lie inside the picture, or centred when it is too large."""
        left = min(max(self.left, 0), width - self.width) if self.width <= width else (width - self.width) // 2
        top = min(max(self.top, 0), height - self.height) if self.height <= height else (height - self.height) // 2
        return CropBox(left, top, self.width, self.height)

    def with_even_edges(self) -> CropBox:
        """Return the rectangle with even edges, at most one pixel less per edge, to match 4:2:0 chroma."""
        left, top = self.left + self.left % 2, self.top + self.top % 2
        right, bottom = (self.left + self.width) // 2 * 2, (self.top + self.height) // 2 * 2
        side = min(right - left, bottom - top)
        square = self.width == self.height
        width, height = (side, side) if square else (right - left, bottom - top)
        return CropBox(left, top, width, height) if width > 0 and height > 0 else self

    def in_crop(self, box: Sequence[float], size: int) -> tuple[float, float, float, float]:
        """Return a box of the picture (left, top, width, height) in pixels of the crop of side ``size``."""
        left, top, width, height = box
        across, down = size / self.width, size / self.height
        return ((left - self.left) * across, (top - self.top) * down, width * across, height * down)

    def face_in_crop(self, face: Face, size: int) -> Face:
        """Return a face of the picture in pixels of the crop of side ``size``."""
        scale = np.array([size / self.width, size / self.height], np.float32)
        landmarks = (face.landmarks - np.array([self.left, self.top], np.float32)) * scale
        return Face(self.in_crop(face.box, size), landmarks, face.score)

    def crop(self, picture: Picture, size: int) -> np.ndarray:
        """Return the rectangle of a picture, resized to (size,size,3) uint8 RGB; padding replicates the edge."""
        right, bottom = self.left + self.width, self.top + self.height
        padding = (
            max(-self.top, 0),
            max(bottom - picture.height, 0),
            max(-self.left, 0),
            max(right - picture.width, 0),
        )
        if not any(padding):
            return picture.scaled_region(self.left, self.top, self.width, self.height, size)
        above, below, before, behind = padding
        inside = picture.region(
            max(self.left, 0), max(self.top, 0), self.width - before - behind, self.height - above - below
        )
        return resized(cv2.copyMakeBorder(inside, *padding, cv2.BORDER_REPLICATE), size, size)


def square_track(boxes: np.ndarray, width: int, height: int, settings: CropSettings) -> list[CropBox]:
    """Return one square around all face boxes of a clip, repeated for every frame.

    The square is as long as the longer side of the boxes' union, plus ``margin`` of that on every side. With edge
    ``pad`` it is limited to the picture's shorter side as long as the union fits, and shifted inside the picture: an
    off-centre face looks better than padding. What still lies outside is padded. With edge ``reject`` the square is
    neither limited nor shifted, and must not leave the picture.

    Args:
        boxes: (N,4) left, top, width, height in pixels of the picture.
        width, height: size of the picture.
        settings: margin, edge and max_padding are used.

    Raises: Rejected with reason off_frame when more of the square lies outside the picture than is allowed.
    """
    left, top, right, bottom = _union(boxes)
    union = max(1, math.ceil(max(right - left, bottom - top)))
    side = round(union * (1 + 2 * settings.margin))
    if settings.edge == "pad":
        side = min(side, max(union, min(width, height)))
    box = CropBox(round((left + right - side) / 2), round((top + bottom - side) / 2), side, side)
    if settings.edge == "pad":
        box = box.shifted_inside(width, height)
    allowed = settings.max_padding if settings.edge == "pad" else 0.0
    if box.outside(width, height) > allowed:
        raise Rejected(
            "off_frame",
            f"{box.outside(width, height):.0%} of the crop would lie outside the {width}x{height} picture; "
            f"at most {allowed:.0%} may",
        )
    return [box.with_even_edges()] * len(boxes)


def vox_metadata(boxes: np.ndarray, width: int, height: int, settings: CropSettings) -> list[CropBox]:
    """Return the union of the annotated boxes, clipped to the picture and not squared.

    Arguments as for :func:`square_track`. Raises: Rejected with reason off_frame when it is outside the picture.
    """
    left, top, right, bottom = _union(boxes)
    first = (max(0, round(left)), max(0, round(top)))
    last = (min(width, round(right)), min(height, round(bottom)))
    if last[0] - first[0] < 2 or last[1] - first[1] < 2:
        raise Rejected(
            "off_frame", f"the annotated box {left:.0f}-{top:.0f}-{right:.0f}-{bottom:.0f} is outside {width}x{height}"
        )
    return [CropBox(*first, last[0] - first[0], last[1] - first[1]).with_even_edges()] * len(boxes)


def ff_1_3(boxes: np.ndarray, width: int, height: int, settings: CropSettings) -> list[CropBox]:
    """Return a square per frame, 1.3 times the longer side of its box, smaller where the picture's edge limits it.

    Arguments as for :func:`square_track`. Raises: Rejected with reason off_frame when a face is outside the picture.
    """
    squares = []
    for left, top, wide, high in boxes:
        side = round(max(wide, high) * _FF_SCALE)
        x, y = max(0, round(left + wide / 2 - side / 2)), max(0, round(top + high / 2 - side / 2))
        side = min(side, width - x, height - y)
        if side < 2:
            raise Rejected("off_frame", f"the face at {left:.0f}, {top:.0f} is outside the {width}x{height} picture")
        squares.append(CropBox(x, y, side, side).with_even_edges())
    return squares


def as_cropped(boxes: np.ndarray, width: int, height: int, settings: CropSettings) -> list[CropBox]:
    """Return the whole picture. Raises: Rejected with reason not_square."""
    if width != height:
        raise Rejected("not_square", f"{width}x{height}; an already cropped clip must be square")
    return [CropBox(0, 0, width, height)] * len(boxes)


Policy = Callable[[np.ndarray, int, int, CropSettings], Sequence[CropBox]]
POLICIES: dict[str, Policy] = {
    "square-track": square_track,
    "vox-metadata": vox_metadata,
    "ff-1.3": ff_1_3,
    "as-cropped": as_cropped,
}


def _union(boxes: np.ndarray) -> tuple[float, float, float, float]:
    left, top = boxes[:, :2].min(axis=0)
    right, bottom = (boxes[:, :2] + boxes[:, 2:]).max(axis=0)
    return float(left), float(top), float(right), float(bottom)
