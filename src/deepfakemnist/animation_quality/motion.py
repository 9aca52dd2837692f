"""Facial motion signals over time, and transfer of a driver's action to an animation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from deepfakemnist.errors import ConfigError
from deepfakemnist.faces.landmarks import BLENDSHAPES, FaceLandmarks

Signals = dict[str, np.ndarray]

#: Blendshapes averaged to a signal, 0..1. Eyes and brows of both sides move together in the ten actions. Blendshapes
#: are not linear in the image: a cross-fade half-way from rest to a wide smile measures 0.9 of it. A transfer near 1
#: thus means that an expression is present, a low one that it is absent; only head angles are quantitative.
EXPRESSIONS = {
    "blink": ("eyeBlinkLeft", "eyeBlinkRight"),
    "jaw": ("jawOpen",),
    "smile": ("mouthSmileLeft", "mouthSmileRight"),
    "brow": ("browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
}
#: Head pose in degrees; signs as in FaceLandmarks: to the subject's left, down, to the subject's left shoulder.
_POSE = ("yaw", "pitch", "roll")

#: Signals of each action, and their direction from rest: 1 up, -1 down, 0 either. In embarrassment the head turns to
#: either side. Looking up turns the head; landmarks hardly capture gaze alone.
ACTION_SIGNALS: dict[str, dict[str, int]] = {
    "blink": {"blink": 1},
    "mouth": {"jaw": 1},
    "yaw": {"yaw": 0},
    "nod": {"pitch": 0},
    "right_slope": {"roll": -1},
    "left_slope": {"roll": 1},
    "up": {"pitch": -1},
    "smile": {"smile": 1},
    "surprise": {"jaw": 1, "brow": 1},
    "embarrassment": {"pitch": 1, "yaw": 0, "smile": 1},
}
#: Minimum amplitude of a signal to count as shown: blendshape units, degrees.
MIN_AMPLITUDE = dict.fromkeys(EXPRESSIONS, 0.1) | dict.fromkeys(_POSE, 4.0)
#: Minimum number of frames with both faces; results are NaN below.
MIN_FRAMES = 5
_LOW, _HIGH = 2, 98
#: Frames at the start of a clip whose median is the rest pose. Relative motion identifies the driver's first frame with
#: the source's pose, so motion is measured from there.
_REST_FRAMES = 3


@dataclass(frozen=True)
class Transfer:
    """Agreement of an animation with its driver in the signals of an action; NaN where undefined."""

    #: Amplitude of the result relative to the driver, along the driver's curve: 1 equal, 0 no motion.
    slope: float
    #: Correlation of both curves, -1..1; 0 for a static result.
    correlation: float


def measure_action(faces: Sequence[FaceLandmarks | None]) -> Signals:
    """Return the signals of a clip, (T,) float64 each, NaN in frames without a face.

    blink, jaw, smile and brow are means of blendshapes, 0..1; yaw, pitch and roll are in degrees.
    """
    shapes = np.full((len(faces), len(BLENDSHAPES)), np.nan)
    poses = np.full((len(faces), len(_POSE)), np.nan)
    for t, face in enumerate(faces):
        if face is not None:
            shapes[t], poses[t] = face.blendshapes, face.pose
    signals = {
        name: shapes[:, [BLENDSHAPES.index(part) for part in parts]].mean(axis=1) for name, parts in EXPRESSIONS.items()
    }
    return signals | {name: poses[:, column] for column, name in enumerate(_POSE)}


def amplitude(signal: np.ndarray) -> float:
    """Return the range of a signal (T,) between its 2nd and 98th percentile, ignoring NaN frames.

    Two percent of a clip of 60 frames is one frame, so a single outlier is ignored, but a blink of two frames counts.
    """
    seen = signal[np.isfinite(signal)]
    if len(seen) < MIN_FRAMES:
        return float("nan")
    low, high = np.percentile(seen, [_LOW, _HIGH])
    return float(high - low)


def action_direction(action: str, signals: Mapping[str, np.ndarray]) -> float:
    """Return the net fraction of a clip's motion from rest in the direction of the action, -1..1.

    1: all of it. -1: all in the opposite direction, e.g. a right slope that tilts to the left. NaN when the action has
    no direction (yaw, nod) or the clip does not show it.
    """
    toward = away = 0.0
    for name, side in _signals_of(action).items():
        signal = signals[name][np.isfinite(signals[name])]
        if side and amplitude(signal) >= MIN_AMPLITUDE[name]:
            change = (signal - np.median(signal[:_REST_FRAMES])) / MIN_AMPLITUDE[name]
            toward += side * change.sum()
            away += np.abs(change).sum()
    return float(toward / away) if away else float("nan")


def action_transfer(action: str, driver: Mapping[str, np.ndarray], result: Mapping[str, np.ndarray]) -> Transfer:
    """Return slope and correlation of the result's signals on the driver's.

    The slope is that of the least-squares regression of the result on the driver, over frames that show both faces. The
    intercept is free, because source and driver have different rest poses. A ratio of the two ranges would count jitter
    and unrelated motion of the result as transfer; the regression counts only motion in sync with the driver. Noise in
    the driver's signal biases the slope towards 0 by 1 / (1 + noise variance / signal variance), which
    ``MIN_AMPLITUDE`` bounds: signals with a smaller amplitude in the driver are skipped. For an action with several
    signals, both are means over those that the driver shows.

    Args:
        action: one of ``ACTION_SIGNALS``.
        driver, result: signals of both clips by ``measure_action``, aligned in time.

    Raises:
        ConfigError: unknown action.
        ValueError: clips of different lengths.
    """
    slopes, correlations = [], []
    for name in _signals_of(action):
        given, shown = driver[name], result[name]
        if given.shape != shown.shape:
            raise ValueError(f"driver and result must be equally long, but have {len(given)} and {len(shown)} frames")
        both = np.isfinite(given) & np.isfinite(shown)
        if amplitude(given[both]) >= MIN_AMPLITUDE[name]:
            x, y = given[both] - given[both].mean(), shown[both] - shown[both].mean()
            slopes.append(x @ y / (x @ x))
            spread = np.sqrt((x @ x) * (y @ y))
            correlations.append(x @ y / spread if spread else 0.0)
    if not slopes:
        return Transfer(float("nan"), float("nan"))
    return Transfer(float(np.mean(slopes)), float(np.mean(correlations)))


def _signals_of(action: str) -> dict[str, int]:
    if action not in ACTION_SIGNALS:
        raise ConfigError(f"action {action!r} is not one of {', '.join(ACTION_SIGNALS)}")
    return ACTION_SIGNALS[action]
