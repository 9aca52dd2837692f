"""Reenactment on a landmark mesh, ``animator.name: mesh``: no weights, no GPU, any size.

The head turns in 3-D, expressions are transferred relative to the source's own, the background stays, and a mouth that
the source keeps closed is filled from the driver, or drawn.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from deepfakemnist.animate.mesh.layers import Layers, take_apart
from deepfakemnist.animate.mesh.lids import Lids
from deepfakemnist.animate.mesh.mouth import (
    DriverMouth,
    drivers_share,
    fill,
    mouth_picture,
    opening,
    skin_colour,
    synthetic_mouth,
)
from deepfakemnist.animate.mesh.rendering import render
from deepfakemnist.animate.mesh.shading import Chart, shaded
from deepfakemnist.animate.mesh.sheet import Sheet
from deepfakemnist.animate.mesh.tracking import Points, filled_track, filtered, points_of
from deepfakemnist.animate.mesh.transfer import Placed, Transfer
from deepfakemnist.animate.protocol import AnimatorInfo, Motion, MotionArray
from deepfakemnist.animate.start_frame import NEUTRALITY, POSE, best_start, face_lines, neutral_start, neutrality
from deepfakemnist.config.animators.mesh import MeshSettings
from deepfakemnist.errors import ConfigError, Failed, Rejected
from deepfakemnist.faces.landmark_sets import FACE_LINES
from deepfakemnist.faces.landmarks import FaceLandmarker, head_model
from deepfakemnist.faces.person_mask import PersonMask

log = logging.getLogger(__name__)

_LANDMARKS = 478
#: Largest share of a face that its source does not show. Of 461 pairs of real people (23 sources, 20 drivers) half stay
#: below 0.02 and four are above 0.081; from there on, a smear on the far cheek is seen at a glance.
_MAX_UNSEEN = 0.08
#: Largest share of landmarks beyond the picture's border.
_MAX_OUTSIDE = 0.02
#: Arrays of a motion: landmarks, picture of the mouth, colour of the skin, height and width of the frames, and creases.
_POINTS, _MOUTH, _SKIN, _SIZE, _CREASES = "value", "mouth", "skin", "size", "creases"


@dataclass(frozen=True, eq=False)
class MeshState:
    """Everything about a source that its frames share."""

    landmarks: Points
    """(478, 3), pixels."""
    lines: NDArray[np.float32]
    """Landmarks that are compared with the driver's for the start frame, -1..1."""
    sheet: Sheet
    layers: Layers
    lids: Lids
    chart_places: NDArray[np.float32]
    """(H, W, 2) place of every pixel of ``layers.person`` in the chart of creases."""
    skin: NDArray[np.float32]
    """Colour of the skin."""
    opening: float
    """Of the source's mouth, relative to its width."""


class MeshAnimator:
    """Animates the mesh of a source by the landmarks of a driver.

    Args:
        settings: uses start_frame, mouth and gaze; motion must be relative.
    """

    def __init__(self, settings: MeshSettings) -> None:
        self._settings = settings
        self._landmarker = FaceLandmarker()
        self._mask = PersonMask()
        self._model = head_model()
        self._chart = Chart(self._model)

    @property
    def info(self) -> AnimatorInfo:
        """Description of the animator."""
        of_driver = self._settings.mouth == "driver"
        return AnimatorInfo(
            name="mesh",
            licence="MIT; landmarks and person mask Apache-2.0",
            size=None,
            motion={
                _POINTS: MotionArray((_LANDMARKS, 3)),
                POSE: MotionArray((len(FACE_LINES), 2)),
                _SIZE: MotionArray((2,), "int32"),
                _CREASES: MotionArray((None, None), "int8"),
                _MOUTH: MotionArray((None, None, 3), "uint8", required=of_driver),
                _SKIN: MotionArray((3,), required=of_driver),
                NEUTRALITY: MotionArray((), required=self._settings.starts_from == "neutral"),
            },
            precision="float32",
            weights_sha256=None,
        )

    def prepare_driving(self, frames: NDArray[np.uint8]) -> Motion:
        """Return the landmarks and the mouth of the driving frames (T, H, W, 3), RGB.

        Raises: Failed("no_frames"), Rejected("no_face") when no frame shows a face.
        """
        if len(frames) == 0:
            raise Failed("no_frames", "the driver has no frame")
        height, width = frames.shape[1:3]
        found = self._landmarker.track(frames)
        track = filled_track(found)
        if track is None:
            raise Rejected("no_face", f"the landmarker finds no face in any of the {len(frames)} frames of the driver")
        if missing := sum(face is None for face in found):
            log.info("landmarks of %d of %d driver frames are interpolated", missing, len(frames))
        track = filtered(track)
        arrays: dict[str, NDArray[Any]] = {
            _SIZE: np.tile(np.array([height, width], np.int32), (len(frames), 1)),
            _CREASES: np.stack([self._chart.creases(*pair) for pair in zip(frames, track, strict=True)]),
        }
        if self._settings.mouth == "driver":
            arrays[_MOUTH] = np.stack([mouth_picture(*pair) for pair in zip(frames, track, strict=True)])
            arrays[_SKIN] = np.stack([skin_colour(*pair) for pair in zip(frames, track, strict=True)])
        if self._settings.starts_from == "neutral":
            arrays[NEUTRALITY] = neutrality(frames, found)
        arrays[POSE] = np.stack([face_lines(face, width, height) for face in found])
        return Motion({_POINTS: _scaled(track, height, width), **arrays})

    def prepare_source(self, frame: NDArray[np.uint8]) -> MeshState:
        """Return the mesh and layers of the source (H, W, 3), RGB.

        Raises: Rejected("no_face"), Rejected("face_cut_off") when the picture does not show the whole face.
        """
        height, width = frame.shape[:2]
        face = self._landmarker(frame)
        if face is None:
            raise Rejected("no_face", "the landmarker finds no face in the source frame")
        landmarks = points_of(face)
        outside = ((landmarks[:, :2] < 0) | (landmarks[:, :2] > (width - 1, height - 1))).any(axis=1).mean()
        if outside > _MAX_OUTSIDE:
            raise Rejected(
                "face_cut_off",
                f"{outside:.0%} of the facial landmarks lie outside of the source frame; at most {_MAX_OUTSIDE:.0%} "
                "may, because a face that moves into the frame would be smeared. Crop with more margin",
            )
        sheet = Sheet(landmarks, (height, width), self._model)
        layers = take_apart(frame, landmarks, self._mask, sheet.proxy)
        return MeshState(
            landmarks,
            face_lines(face, width, height),
            sheet,
            layers,
            Lids(frame, landmarks),
            self._chart.coordinates(landmarks, layers.person.shape[:2], layers.border),
            skin_colour(frame, landmarks),
            opening(landmarks),
        )

    def start_of(self, state: MeshState, motion: Motion) -> int:
        """Return the driver frame that relative motion starts from."""
        if self._settings.starts_from == "neutral":
            return neutral_start(motion)
        return 0 if self._settings.starts_from == "first" else best_start(state.lines, motion[POSE]) or 0

    def mouth_from(self, state: MeshState, motion: Motion) -> Literal["source", "driver", "synthetic"]:
        """Return source unless the driver opens a mouth that the source keeps closed. Raises: as :meth:`render`."""
        start = self._checked_start(state, motion)
        shares = (share for *_, share in self._performed(state, motion, start))
        return self._settings.mouth if any(share > 0 for share in shares) else "source"

    def render(self, state: MeshState, motion: Motion) -> Iterator[NDArray[np.uint8]]:
        """Yield one RGB frame (H, W, 3) for each frame of the motion.

        Raises: Failed("motion_mismatch") when the motion was made by another animator; Rejected("face_unseen") when
            a frame would show much of the face that the source does not.
        """
        start = self._checked_start(state, motion)
        creases = motion[_CREASES]
        for index, (driver, placed, share) in enumerate(self._performed(state, motion, start)):
            texture = state.lids.texture(state.sheet.vertices, placed)
            change = self._chart.change(creases[start], creases[index], placed.degrees)
            person = shaded(state.layers.person, change, state.chart_places)
            drawn = render(state.sheet, state.sheet.moved(placed), person, texture, state.layers.border)
            if drawn.unseen > _MAX_UNSEEN:
                raise Rejected(
                    "face_unseen",
                    f"{drawn.unseen:.0%} of the face in frame {index} is not shown by the source frame; at most "
                    f"{_MAX_UNSEEN:.0%} may be. Use sources who look into the camera, or drivers who turn less",
                )
            frame = state.layers.composed(drawn)
            state.lids.draw_lashes(frame, placed)
            if share > 0:
                if self._settings.mouth == "synthetic":
                    mouth = synthetic_mouth(placed.points)
                else:
                    mouth = DriverMouth(motion[_MOUTH][index], motion[_SKIN][index], driver)
                fill(frame, placed.points, state.skin, mouth, share)
            yield np.clip(np.round(frame), 0, 255).astype(np.uint8)

    def _checked_start(self, state: MeshState, motion: Motion) -> int:
        """Return the start frame of a motion of this animator. Raises: Failed("motion_mismatch")."""
        motion.check(self.info.motion)
        return self.start_of(state, motion)

    def _performed(self, state: MeshState, motion: Motion, start: int) -> Iterator[tuple[Points, Placed, float]]:
        """Yield the driver's landmarks, the source's, and the opacity of the driver's mouth, 0..1, per frame."""
        height, width = map(int, motion[_SIZE][0])
        track = _in_pixels(motion[_POINTS], height, width)
        transfer = Transfer(state.landmarks, track[start], self._model, gaze=self._settings.gaze == "driver")
        for driver in track:
            placed = transfer(driver)
            yield driver, placed, drivers_share(state.opening, opening(placed.points))


def load(settings: MeshSettings, weights: Path | None, device: str) -> MeshAnimator:
    """Return the animator; ``device`` is ignored. Raises ConfigError if weights are given."""
    if weights is not None:
        raise ConfigError(f"animator.name: mesh takes no weights, but animator.weights is {weights}; set it to null")
    return MeshAnimator(settings)


def _scaled(track: Points, height: int, width: int) -> NDArray[np.float32]:
    """Return landmarks (T, K, 3) in -1..1; depth in the units of x."""
    plane = 2 * (track[..., :2] + 0.5) / (width, height) - 1
    return np.concatenate([plane, track[..., 2:] * (2 / width)], axis=-1).astype(np.float32)


def _in_pixels(value: NDArray[np.float32], height: int, width: int) -> Points:
    """Return what :func:`_scaled` was given."""
    plane = (value[..., :2].astype(np.float64) + 1) * (width, height) / 2 - 0.5
    return np.concatenate([plane, value[..., 2:].astype(np.float64) * (width / 2)], axis=-1)
