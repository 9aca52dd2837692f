"""Head pose, camera framing, ground-truth landmarks, and the coupling of gaze and eyelids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

#: Gaze angle at which ARKit's eyeLook* blendshapes reach weight 1, degrees.
_LOOK_DEGREES = {"Up": 28.0, "Down": 32.0, "In": 35.0, "Out": 35.0}


@dataclass(frozen=True)
class Pose:
    """Head pose; angles in degrees, zero when facing the camera."""

    yaw: float = 0.0  # towards the subject's left: image right
    pitch: float = 0.0  # downwards
    roll: float = 0.0  # towards the subject's left shoulder: clockwise in the image
    x: float = 0.0  # shift to the right, share of the frame height
    y: float = 0.0  # shift down, share of the frame height
    scale: float = 1.0  # 1.1 is 10 % larger


@dataclass(frozen=True)
class Framing:
    """Frame size and position of the head in it; the default matches the workflow's face crop."""

    width: int = 256
    height: int = 256
    eyes_x: float = 0.5  # x of the point between the eyes at rest, share of the width
    eyes_y: float = 0.43  # y of that point, share of the height
    head: float = 0.60  # crown to chin, share of the height

    def __post_init__(self) -> None:
        if not (16 <= self.width <= 4096 and 16 <= self.height <= 4096):
            raise ValueError(f"width and height must be 16 to 4096 pixels, not {self.width}×{self.height}")
        if not 0.05 <= self.head <= 3:
            raise ValueError(f"head must be 0.05 to 3 times the frame height, not {self.head}")


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Ground truth of one frame, in pixels; occluded points included."""

    points: dict[str, np.ndarray]  # name in LANDMARKS to (2,) float32 x, y
    box: tuple[float, float, float, float]  # left, top, width, height; the face from hairline to chin

    def distance(self, a: str, b: str) -> float:
        """Return the distance between two landmarks, pixels."""
        return float(np.linalg.norm(self.points[a] - self.points[b]))


def rotation(pose: Pose) -> np.ndarray:
    """Return the (3,3) float32 rotation of the head: pitch, then yaw, then roll."""
    yaw, pitch, roll = np.deg2rad([pose.yaw, pose.pitch, pose.roll])
    about_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    about_z = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    about_y = np.array([[np.cos(roll), 0, np.sin(roll)], [0, 1, 0], [-np.sin(roll), 0, np.cos(roll)]])
    return (about_y @ about_z @ about_x).astype(np.float32)


def couple_gaze(
    actions: Mapping[str, float], gaze: tuple[float, float]
) -> tuple[dict[str, float], tuple[float, float]]:
    """Couple eyelids and gaze in both directions: returns all blendshape weights and the total gaze, degrees."""
    mean = {
        way: 0.5 * sum(actions.get(f"eyeLook{way}{side}", 0.0) for side in ("Left", "Right")) for way in _LOOK_DEGREES
    }
    # To the subject's left, the left eye looks out and the right eye in.
    left = 0.5 * (actions.get("eyeLookOutLeft", 0.0) + actions.get("eyeLookInRight", 0.0))
    right = 0.5 * (actions.get("eyeLookInLeft", 0.0) + actions.get("eyeLookOutRight", 0.0))
    aside = gaze[0] + _LOOK_DEGREES["Out"] * (left - right)
    up = gaze[1] + _LOOK_DEGREES["Up"] * mean["Up"] - _LOOK_DEGREES["Down"] * mean["Down"]
    follow = {
        "eyeLookUpLeft": up / _LOOK_DEGREES["Up"],
        "eyeLookUpRight": up / _LOOK_DEGREES["Up"],
        "eyeLookDownLeft": -up / _LOOK_DEGREES["Down"],
        "eyeLookDownRight": -up / _LOOK_DEGREES["Down"],
        "eyeLookOutLeft": aside / _LOOK_DEGREES["Out"],
        "eyeLookInRight": aside / _LOOK_DEGREES["In"],
        "eyeLookInLeft": -aside / _LOOK_DEGREES["In"],
        "eyeLookOutRight": -aside / _LOOK_DEGREES["Out"],
    }
    return {**actions, **{name: float(np.clip(weight, 0, 1)) for name, weight in follow.items()}}, (aside, up)
