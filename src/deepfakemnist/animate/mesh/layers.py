"""Layers of a source picture: the person, who moves, before a background, which does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from deepfakemnist.animate.mesh.head import HeadProxy
from deepfakemnist.animate.mesh.pixel_loops import blended
from deepfakemnist.animate.mesh.rendering import Picture, Rendered
from deepfakemnist.animate.mesh.tracking import Points
from deepfakemnist.faces.landmark_sets import OVAL

#: Masks surer than this count as the person, and less sure than that as the background.
_SURE, _UNSURE = 0.8, 0.2
#: Least share of the face that a mask must cover to be trusted.
_MASKED = 0.7
#: The background is painted this far into what the mask calls background, relative to the picture's side: hair and
#: compression reach beyond the mask.
_BLEED = 0.02
#: The person is continued this far beyond the picture, relative to its shorter side.
_BORDER = 0.22
#: Within so many pixels of motion, what moves passes into the source picture itself.
_REST = 1.5


@dataclass(frozen=True, eq=False)
class Layers:
    """A source picture taken apart."""

    person: Picture
    """(H + 2 × border, W + 2 × border, 4) picture and mask, continued beyond the border of the picture."""
    border: int
    """Pixels on each side."""
    background: NDArray[np.float32]
    """(H, W, 3) with the person painted over."""
    picture: NDArray[np.float32]
    """(H, W, 3) as it was."""

    def composed(self, frame: Rendered) -> NDArray[np.float32]:
        """Return the frame (H, W, 3), 0..255, with the person before the background."""
        # Where nothing moves, the source is there as it was: its mask need not be right.
        share = cv2.blur(frame.moved, (5, 5)) / np.float32(_REST)
        return np.asarray(blended(frame.layers, frame.covered, self.background, self.picture, share), np.float32)


def take_apart(
    picture: Picture, landmarks: Points, mask: Callable[[Picture], NDArray[np.float32]], proxy: HeadProxy
) -> Layers:
    """Return the layers of a source picture (H, W, 3) with landmarks (478, 3); ``mask`` as PersonMask."""
    height, width = picture.shape[:2]
    sure = np.clip((mask(picture) - _UNSURE) / (_SURE - _UNSURE), 0, 1)
    face = np.zeros((height, width), np.uint8)
    cv2.fillPoly(face, [np.round(landmarks[list(OVAL), :2]).astype(np.int32)], 255)
    if sure[face > 0].mean() < _MASKED:
        # A mask that misses the face misses the hair, too, which would stay behind. Rather let the background bend.
        sure[:] = 1
    opacity = np.maximum(np.round(sure * 255).astype(np.uint8), face)
    reach = max(1, round(_BLEED * max(height, width)))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    hole = cv2.dilate((opacity > 12).astype(np.uint8), kernel)
    background = picture if hole.all() else cv2.inpaint(picture, hole, 3, cv2.INPAINT_TELEA)
    border = round(_BORDER * min(height, width))
    person = _continued(np.dstack([picture, opacity]), border, proxy)
    return Layers(person, border, background.astype(np.float32), picture.astype(np.float32))


def _continued(person: Picture, border: int, proxy: HeadProxy) -> Picture:
    """Return picture and mask with a border: mirrored, as streaks would be seen, and above as high as the head is."""
    sides = (border, border, border, border)
    colours = cv2.copyMakeBorder(person[..., :3], *sides, cv2.BORDER_REFLECT)
    opacity = cv2.copyMakeBorder(person[..., 3], *sides, cv2.BORDER_REPLICATE)
    x, y = np.meshgrid(np.arange(opacity.shape[1]) - border, np.arange(border) - border)
    crown = proxy.covers(np.column_stack([x.ravel(), y.ravel()]).astype(float)).reshape(x.shape)
    opacity[:border] = np.where(crown, opacity[:border], 0)
    return np.dstack([colours, opacity])
