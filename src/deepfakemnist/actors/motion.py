"""Procedural motion of the ten actions and of talking: head pose, gaze and blendshape weights per frame.

A motion depends only on its seed, so two actors can perform exactly the same one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from deepfakemnist.config.base import ACTIONS, Action
from deepfakemnist.errors import ConfigError

#: Motion of a source video, which has no commanded action.
TALK: Literal["talk"] = "talk"
_MIN_FRAMES = 16
_SIDES = ("Left", "Right")


@dataclass(eq=False)
class Motion:
    """Animation curves of a face over T frames."""

    action: str
    fps: float
    curve: np.ndarray  # (T,) float32, intensity of the commanded action, 0 rest .. 1 maximum
    pose: np.ndarray  # (T,5) float32: yaw, pitch, roll in degrees and x, y shift, as in Pose
    gaze: np.ndarray  # (T,2) float32, degrees to the subject's left and up, relative to the head
    weights: dict[str, np.ndarray]  # facial action to (T,) float32 blendshape weights, 0..1

    def add(self, weight: np.ndarray, *names: str) -> None:
        """Add to blendshape weights; a name without a side, like ``mouthSmile``, means both sides."""
        for name in names:
            for full in (name,) if name in _UNSIDED or name.endswith(_SIDES) else (f"{name}{s}" for s in _SIDES):
                self.weights[full] = np.clip(self.weights.get(full, 0.0) + weight, 0, 1).astype(np.float32)


#: Facial actions without a left and a right variant.
_UNSIDED = {
    "browInnerUp",
    "cheekPuff",
    "jawForward",
    "jawOpen",
    "mouthClose",
    "mouthFunnel",
    "mouthPucker",
    "mouthRollLower",
    "mouthRollUpper",
    "mouthShrugLower",
    "mouthShrugUpper",
    "tongueOut",
}


def make_motion(action: Action | Literal["talk"], seed: int, frames: int = 75, fps: float = 25.0) -> Motion:
    """Return the motion of an action or of talking; intensity, timing and style vary with the seed.

    Args:
        action: one of ``deepfakemnist.config.base.ACTIONS``, or ``"talk"``.
        seed: of all random choices.
        frames: length; an action takes most of it and is at rest at both ends.
        fps: frames per second.

    Raises:
        ConfigError: unknown action, too few frames, or a frame rate that is not positive.
    """
    if action != TALK and action not in _MOTIONS:
        raise ConfigError(f"unknown action {action!r}; actors perform {', '.join((*ACTIONS, TALK))}")
    if frames < _MIN_FRAMES:
        raise ConfigError(f"a performance needs at least {_MIN_FRAMES} frames, not {frames}")
    if not fps > 0:
        raise ConfigError(f"fps must be positive, not {fps}")
    rng = np.random.default_rng([seed, *map(ord, action)])
    time = np.arange(frames) / fps
    motion = Motion(
        action=action,
        fps=fps,
        curve=np.zeros(frames, np.float32),
        pose=np.zeros((frames, 5), np.float32),
        gaze=np.zeros((frames, 2), np.float32),
        weights={},
    )
    if action == TALK:
        _sway(motion, time, rng, 1.0)
        _saccades(motion, time, rng)
        _blinks(motion, time, rng)
        _speech(motion, time, rng)
    else:
        _sway(motion, time, rng, 0.22)
        _MOTIONS[action](motion, frames, rng)
    return motion


def _bump(frames: int, rng: np.random.Generator) -> np.ndarray:
    """Return a (T,) envelope that rises, holds and falls: 0 at both ends, 1 in the middle."""
    start, end = rng.uniform(0.06, 0.16), rng.uniform(0.84, 0.94)
    rise, fall = rng.uniform(0.18, 0.28), rng.uniform(0.18, 0.28)
    share = np.arange(frames) / (frames - 1)
    ramp = np.interp(share, [0, start, start + rise, end - fall, end, 1], [0, 0, 1, 1, 0, 0])
    return ramp * ramp * (3 - 2 * ramp)


def _swing(frames: int, rng: np.random.Generator, cycles: float) -> np.ndarray:
    """Return a (T,) oscillation in -1..1 that starts and ends at rest; the first direction is random."""
    share = np.arange(frames) / (frames - 1)
    start, end = rng.uniform(0.04, 0.10), rng.uniform(0.90, 0.96)
    phase = np.clip((share - start) / (end - start), 0, 1)
    swing = np.sin(2 * np.pi * cycles * phase) * rng.choice([-1, 1]) * (phase > 0) * (phase < 1)
    return swing / np.abs(swing).max()


def _intensity(rng: np.random.Generator) -> float:
    return float(rng.uniform(0.75, 1.0))


def _set_curve(motion: Motion, curve: np.ndarray) -> np.ndarray:
    """Record the intensity of the commanded action, and return ``curve``."""
    motion.curve = np.abs(curve).astype(np.float32)
    return curve


def _blink(motion: Motion, frames: int, rng: np.random.Generator) -> None:
    count = int(rng.integers(2, 4))
    closing, closed, opening = rng.uniform(0.08, 0.12), rng.uniform(0.08, 0.24), rng.uniform(0.14, 0.24)  # seconds
    time = np.arange(frames) / motion.fps
    duration = closing + closed + opening
    free = time[-1] - 2 / motion.fps
    shrink = min(1.0, 0.9 * free / (count * duration))
    slack = free - count * duration * shrink  # total time between blinks
    starts = (np.arange(count) + rng.uniform(0.1, 0.9, count)) / count * slack
    starts = 1 / motion.fps + starts + np.arange(count) * duration * shrink
    curve = np.zeros(frames)
    for start in starts:
        knots = start + shrink * np.array([0, closing, closing + closed, duration])
        curve = np.maximum(curve, np.interp(time, knots, [0, 1, 1, 0], left=0, right=0))
    curve = curve / max(curve.max(), 1e-6) * rng.uniform(0.92, 1.0)
    motion.add(_set_curve(motion, curve), "eyeBlink")
    motion.gaze[:, 1] -= 6 * curve  # eyes turn down slightly under closing lids


def _mouth(motion: Motion, frames: int, rng: np.random.Generator) -> None:
    curve = _set_curve(motion, _bump(frames, rng) * _intensity(rng))
    motion.add(curve, "jawOpen")  # for some faces landmarks measure only half of it
    motion.add(rng.uniform(0, 0.25) * curve, "mouthFunnel")
    motion.add(rng.uniform(0.15, 0.5) * curve, "mouthLowerDown", "mouthUpperUp")


def _yaw(motion: Motion, frames: int, rng: np.random.Generator) -> None:
    swing = _set_curve(motion, _swing(frames, rng, 1) * _intensity(rng))
    motion.pose[:, 0] += 30 * swing
    motion.pose[:, 2] += rng.uniform(-3, 3) * swing
    motion.gaze[:, 0] -= rng.uniform(0, 10) * swing  # eyes turn away from the camera less than the head does


def _nod(motion: Motion, frames: int, rng: np.random.Generator) -> None:
    swing = _set_curve(motion, _swing(frames, rng, int(rng.integers(2, 4))) * _intensity(rng))
    motion.pose[:, 1] += 16 * swing + 2 * np.abs(swing)
    motion.gaze[:, 1] += 5 * swing


def _slope(towards_left: float) -> Callable[[Motion, int, np.random.Generator], None]:
    def slope(motion: Motion, frames: int, rng: np.random.Generator) -> None:
        curve = _set_curve(motion, _bump(frames, rng) * _intensity(rng))
        motion.pose[:, 2] += towards_left * 24 * curve
        motion.pose[:, 0] += rng.uniform(-3, 3) * curve
        motion.pose[:, 3] += towards_left * 0.02 * curve

    return slope


def _up(motion: Motion, frames: int, rng: np.random.Generator) -> None:
    curve = _set_curve(motion, _bump(frames, rng) * _intensity(rng))
    motion.pose[:, 1] -= 24 * curve  # landmarks measure three quarters of it; people also throw their heads back
    motion.gaze[:, 1] += rng.uniform(10, 14) * curve
    motion.add(0.6 * curve, "eyeWide")
    motion.add(rng.uniform(0.1, 0.4) * curve, "browInnerUp", "browOuterUp")


def _smile(motion: Motion, frames: int, rng: np.random.Generator) -> None:
    curve = _set_curve(motion, _bump(frames, rng) * _intensity(rng))
    motion.add(0.95 * curve, "mouthSmile")
    motion.add(rng.uniform(0.4, 0.8) * curve, "cheekSquint")
    motion.add(rng.uniform(0.1, 0.4) * curve, "eyeSquint", "mouthUpperUp")
    motion.add(rng.uniform(0, 0.12) * curve, "jawOpen")


def _surprise(motion: Motion, frames: int, rng: np.random.Generator) -> None:
    curve = _set_curve(motion, _bump(frames, rng) * _intensity(rng))
    motion.add(1.25 * curve, "browInnerUp", "browOuterUp", "eyeWide")  # above 1, so that the brows saturate early
    motion.add(rng.uniform(0.8, 1.0) * curve, "jawOpen")
    motion.add(rng.uniform(0, 0.2) * curve, "mouthFunnel")
    motion.pose[:, 1] -= rng.uniform(0, 5) * curve


def _embarrassment(motion: Motion, frames: int, rng: np.random.Generator) -> None:
    """Turn gaze and head down and sideways with a controlled smile (Amsterdam Dynamic Facial Expression Set)."""
    curve, side = _set_curve(motion, _bump(frames, rng) * _intensity(rng)), rng.choice([-1, 1])
    motion.pose[:, 0] += side * rng.uniform(12, 18) * curve
    motion.pose[:, 1] += rng.uniform(13, 18) * curve
    motion.pose[:, 2] += side * rng.uniform(2, 7) * curve
    motion.gaze[:, 0] += side * rng.uniform(4, 10) * curve
    motion.gaze[:, 1] -= rng.uniform(12, 20) * curve
    motion.add(rng.uniform(0.75, 1.0) * curve, "mouthSmile")
    motion.add(rng.uniform(0.1, 0.3) * curve, "mouthPress")  # stronger presses hide the smile from landmarks
    motion.add(rng.uniform(0.05, 0.25) * curve, "mouthRollLower")


_MOTIONS: dict[str, Callable[[Motion, int, np.random.Generator], None]] = {
    "blink": _blink,
    "mouth": _mouth,
    "yaw": _yaw,
    "nod": _nod,
    "right_slope": _slope(-1.0),
    "left_slope": _slope(1.0),
    "up": _up,
    "smile": _smile,
    "surprise": _surprise,
    "embarrassment": _embarrassment,
}


def _sway(motion: Motion, time: np.ndarray, rng: np.random.Generator, size: float) -> None:
    """Add slow, aperiodic idle motion of the head: angles in degrees, shifts as shares of the frame height."""
    for column, (amplitude, hertz) in enumerate(((5.0, 0.30), (3.5, 0.35), (2.5, 0.25), (0.012, 0.22), (0.008, 0.25))):
        a, b = rng.uniform(0.6, 1.4, 2)
        slow = np.sin(2 * np.pi * (hertz * a * time + rng.random()))
        fast = np.sin(2 * np.pi * (2.7 * hertz * b * time + rng.random()))
        motion.pose[:, column] += size * amplitude * rng.uniform(0.5, 1.0) * (0.75 * slow + 0.25 * fast)


def _saccades(motion: Motion, time: np.ndarray, rng: np.random.Generator) -> None:
    """Add saccades, one or two a second; most return to the camera."""
    onset = 0.0
    while onset < time[-1]:
        hold = rng.uniform(0.4, 1.4)
        spread = (1.0, 0.7) if rng.random() < 0.65 else (9.0, 4.0)
        target = rng.normal(0, spread)
        now = (time >= onset) & (time < onset + hold)
        motion.gaze[now] += np.clip(target, -15, 15)
        onset += hold


def _blinks(motion: Motion, time: np.ndarray, rng: np.random.Generator) -> None:
    """Add spontaneous blinks, one every two to five seconds."""
    onset = rng.uniform(0.2, 2.5)
    while onset < time[-1] - 0.3:
        lid = np.interp(time, onset + np.array([0, 0.09, 0.13, 0.32]), [0, 1, 1, 0], left=0, right=0)
        motion.add(lid, "eyeBlink")
        onset += rng.uniform(1.5, 5.0)


def _speech(motion: Motion, time: np.ndarray, rng: np.random.Generator) -> None:
    """Add speech: four or five syllables a second in phrases with pauses; each opens, rounds or spreads the mouth."""
    jaw, funnel, stretch, close = (np.zeros(len(time)) for _ in range(4))
    onset = rng.uniform(0, 0.4)
    loud = rng.uniform(0.6, 1.2)
    while onset < time[-1]:
        for _ in range(rng.integers(4, 12)):
            duration = rng.uniform(0.14, 0.28)
            shape = np.clip(
                np.interp(time, onset + np.array([0, 0.5, 1.0]) * duration, [0, 1, 0], left=0, right=0), 0, 1
            )
            shape = shape * shape * (3 - 2 * shape)
            jaw += shape * rng.uniform(0.06, 0.42) * loud
            vowel = rng.choice(3)
            funnel += shape * rng.uniform(0.2, 0.7) * (vowel == 0)
            stretch += shape * rng.uniform(0.1, 0.5) * (vowel == 1)
            if rng.random() < 0.25:  # m, b, p
                shut = np.interp(time, onset + duration + np.array([-0.05, 0, 0.05]), [0, 1, 0], left=0, right=0)
                close += 0.4 * shut
                jaw *= 1 - shut
            onset += duration * 0.85
        onset += rng.uniform(0.15, 0.6)
    motion.add(jaw, "jawOpen")
    motion.add(funnel, "mouthFunnel")
    motion.add(0.6 * stretch, "mouthStretch")
    motion.add(0.4 * stretch + 0.3 * jaw, "mouthLowerDown")
    motion.add(close, "mouthPress")
    smile = np.convolve(rng.normal(0, 1, len(time) + 50), np.hanning(51) / 25, "valid")
    motion.add(np.clip(0.25 * smile, 0, 0.5), "mouthSmile")
    motion.add(np.clip(-0.3 * smile + 0.1 * jaw, 0, 0.6), "browInnerUp")
