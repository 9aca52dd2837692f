"""Performances: an actor performs one of the ten actions or talks, rendered with per-frame ground truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from deepfakemnist.actors.actor import Actor
from deepfakemnist.actors.motion import TALK, make_motion
from deepfakemnist.actors.pose import Framing, Landmarks, Pose
from deepfakemnist.config.base import Action

__all__ = ["TALK", "Performance", "perform"]


@dataclass(frozen=True, eq=False)
class Performance:
    """T lazily rendered frames of an actor, with the commanded motion of each."""

    actor: Actor
    framing: Framing
    fps: float
    curve: np.ndarray  # (T,) float32, intensity of the commanded action, 0 rest .. 1 maximum
    poses: np.ndarray  # (T,3) float32: yaw, pitch, roll, degrees as in Pose
    shifts: np.ndarray  # (T,2) float32: x, y as in Pose
    gaze: np.ndarray  # (T,2) float32, degrees to the subject's left and up
    actions: np.ndarray  # (T,A) float32, blendshape weights
    action_names: tuple[str, ...]  # names of the A columns

    def __len__(self) -> int:
        return len(self.curve)

    def frames(self) -> Iterator[np.ndarray]:
        """Render frame by frame, (H,W,3) uint8 RGB each; deterministic."""
        last = None
        for index in range(len(self)):
            light = self.actor.render_linear(*self._command(index), self.framing)
            yield self.actor.expose(light, last, self.framing, index)
            last = light

    def clip(self) -> np.ndarray:
        """Render all frames: (T,H,W,3) uint8 RGB."""
        return np.stack(list(self.frames()))

    def landmarks(self, index: int) -> Landmarks:
        """Return the ground-truth landmarks of one frame."""
        return self.actor.landmarks(*self._command(index), self.framing)

    def _command(self, index: int) -> tuple[Pose, dict[str, float], tuple[float, float]]:
        yaw, pitch, roll = map(float, self.poses[index])
        x, y = map(float, self.shifts[index])
        actions = {name: float(w) for name, w in zip(self.action_names, self.actions[index], strict=True) if w}
        return Pose(yaw, pitch, roll, x, y), actions, (float(self.gaze[index, 0]), float(self.gaze[index, 1]))


def perform(
    actor: Actor,
    action: Action | Literal["talk"],
    seed: int,
    frames: int = 75,
    fps: float = 25.0,
    framing: Framing | None = None,
) -> Performance:
    """Return an actor's performance of an action; frames are rendered on demand.

    Args:
        actor: the performer.
        action: one of ``deepfakemnist.config.base.ACTIONS``, or ``"talk"``: speech, saccades and blinks.
        seed: of intensity, timing and style; two actors with the same seed perform the same motion.
        frames: length, at least 16.
        fps: frames per second.
        framing: size of the frame and position of the face; default a 256×256 crop.

    Raises:
        ConfigError: unknown action, too few frames, or a frame rate that is not positive.
    """
    motion = make_motion(action, seed, frames, fps)
    names = actor.bank.action_names
    weights = np.zeros((frames, len(names)), np.float32)
    for name, weight in motion.weights.items():
        weights[:, names.index(name)] = weight
    return Performance(
        actor=actor,
        framing=framing or Framing(),
        fps=fps,
        curve=motion.curve,
        poses=motion.pose[:, :3],
        shifts=motion.pose[:, 3:],
        gaze=motion.gaze,
        actions=weights,
        action_names=names,
    )
