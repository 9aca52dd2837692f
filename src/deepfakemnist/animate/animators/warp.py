"""Landmark-driven thin-plate-spline warp of the source image, ``animator.name: warp``.

A baseline fake without weights or GPU. Regions occluded in the source cannot appear: an opening mouth shows stretched
lips, a turning head is a distorted image. A detector that finds FOMM's fakes no better than these has learnt little.
The module also serves as the example of an animator in one file.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator

from deepfakemnist.animate.protocol import AnimatorInfo, Motion
from deepfakemnist.animate.start_frame import best_start, face_lines
from deepfakemnist.config.animator import AnimatorSettings
from deepfakemnist.errors import ConfigError, Failed, Rejected
from deepfakemnist.faces.landmarks import FaceLandmarker

log = logging.getLogger(__name__)

#: Points per side of the grid on which the spline is evaluated; the smooth warp is interpolated in between.
_GRID = 65
#: Closed lids or lips map one point to two; smoothing keeps the spline from tearing there.
_SMOOTHING = 1e-3
#: Fixed points along each border of the image.
_BORDER = 7


@dataclass(frozen=True, eq=False)
class WarpState:
    """Source image and its facial landmarks."""

    image: NDArray[np.uint8]
    """(H, W, 3)."""
    landmarks: NDArray[np.float32]
    """(L, 2) in -1..1."""


class WarpAnimator:
    """Transfers the motion of the driver's landmarks to the source's and warps the image accordingly.

    Args:
        settings: uses motion, adapt_scale and start_frame.
    """

    def __init__(self, settings: AnimatorSettings) -> None:
        self._settings = settings
        self._landmarker = FaceLandmarker()

    @property
    def info(self) -> AnimatorInfo:
        """Description of the animator."""
        return AnimatorInfo("warp", "MIT; landmarks Apache-2.0", None, ("relative", "absolute"), "float32", None)

    def prepare_driving(self, frames: NDArray[np.uint8]) -> Motion:
        """Return the landmarks of the driving frames (T, H, W, 3), RGB, interpolated over frames without a face.

        Raises: Failed("no_frames"), Rejected("no_face") when no frame shows a face.
        """
        if len(frames) == 0:
            raise Failed("no_frames", "the driver has no frame")
        height, width = frames.shape[1:3]
        landmarks = np.stack([face_lines(found, width, height) for found in self._landmarker.track(frames)])
        seen = np.flatnonzero(np.isfinite(landmarks).all(axis=(1, 2)))
        if len(seen) == 0:
            raise Rejected("no_face", f"the landmarker finds no face in any of the {len(frames)} frames of the driver")
        if len(seen) < len(frames):
            log.info("landmarks of %d of %d driver frames are interpolated", len(frames) - len(seen), len(frames))
        every, flat = np.arange(len(frames)), landmarks.reshape(len(frames), -1)
        filled = np.stack([np.interp(every, seen, column[seen]) for column in flat.T], axis=1)
        return Motion(filled.reshape(landmarks.shape).astype(np.float32))

    def prepare_source(self, frame: NDArray[np.uint8]) -> WarpState:
        """Return the image (H, W, 3), RGB, with its landmarks. Raises: Rejected("no_face")."""
        height, width = frame.shape[:2]
        landmarks = face_lines(self._landmarker(frame), width, height)
        if not np.isfinite(landmarks).all():
            raise Rejected("no_face", "the landmarker finds no face in the source frame")
        return WarpState(frame, landmarks)

    def start_of(self, state: WarpState, motion: Motion) -> int:
        """Return the driver frame that relative motion starts from."""
        best = best_start(state.landmarks, motion.value) if self._settings.start_frame == "best" else None
        return best or 0

    def mouth_from(self, state: WarpState, motion: Motion) -> Literal["source", "driver"]:
        """Return source: a driver gives its motion only."""
        return "source"

    def render(self, state: WarpState, motion: Motion) -> Iterator[NDArray[np.uint8]]:
        """Yield one RGB frame (H, W, 3) for each frame of the motion.

        Raises: Failed("motion_mismatch") when the motion was made by another animator.
        """
        if motion.value.shape[1:] != state.landmarks.shape:
            raise Failed(
                "motion_mismatch",
                f"the motion has {motion.value.shape[1:]} landmarks, expected {state.landmarks.shape}: "
                "it belongs to another animator",
            )
        start = motion.value[self.start_of(state, motion)]
        scale = _size(state.landmarks) / _size(start) if self._settings.scales_motion else 1.0
        for landmarks in motion.value:
            relative = state.landmarks + (landmarks - start) * scale
            yield _warp(state, landmarks if self._settings.motion == "absolute" else relative)


def load(settings: AnimatorSettings, weights: Path | None, device: str) -> WarpAnimator:
    """Return the animator; ``device`` is ignored. Raises ConfigError if weights are given."""
    if weights is not None:
        raise ConfigError(f"animator.name: warp takes no weights, but animator.weights is {weights}; set it to null")
    return WarpAnimator(settings)


def _warp(state: WarpState, target: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Backward-warp the image so that its landmarks move to ``target``."""
    height, width = state.image.shape[:2]
    edge = np.linspace(-1, 1, _BORDER)
    border = np.array([(x, y) for x in edge for y in edge if max(abs(x), abs(y)) == 1])
    # The spline interpolates displacements, so that zero motion leaves the image exactly unchanged.
    displacement = np.concatenate([state.landmarks - target, np.zeros_like(border)])
    points = np.concatenate([target, border])
    axis = np.linspace(-1, 1, _GRID)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    spline = RBFInterpolator(points, displacement, kernel="thin_plate_spline", smoothing=_SMOOTHING)
    coarse = spline(grid).reshape(_GRID, _GRID, 2).astype(np.float32)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    # Grid points at -1 and 1 are the outer edges of the border pixels; sampling is at pixel centres.
    to_grid = (_GRID - 1) / width, (_GRID - 1) / height
    flow = cv2.remap(coarse, (x + 0.5) * to_grid[0], (y + 0.5) * to_grid[1], cv2.INTER_LINEAR)
    warped = cv2.remap(
        state.image,
        x + flow[..., 0] * width / 2,
        y + flow[..., 1] * height / 2,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return warped.astype(np.uint8)


def _size(landmarks: NDArray[np.float32]) -> float:
    """Return the root mean square distance of the landmarks from their centroid."""
    return float(np.sqrt(np.square(landmarks - landmarks.mean(axis=0)).sum(axis=1).mean()))
