"""What a face does over time, and how much of a driver's action an animation shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from deepfakemnist.errors import ConfigError
from deepfakemnist.faces.landmarks import BLENDSHAPES, FaceLandmarks

Signals = dict[str, np.ndarray]

#: Blendshapes whose mean is a signal, 0..1. Eyes and brows of both sides move together in the ten actions. They are not
#: linear in the picture: half-way from rest to a wide smile, cross-faded, reads as 0.9 of it, so a transfer near 1 says
#: that an expression is there, a low one that it is not, and the head's angles alone are amounts.
EXPRESSIONS = {
    "blink": ("eyeBlinkLeft", "eyeBlinkRight"),
    "jaw": ("jawOpen",),
    "smile": ("mouthSmileLeft", "mouthSmileRight"),
    "brow": ("browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
}
#: Head pose in degrees; signs as in FaceLandmarks: to the subject's own left, down, to their own left shoulder.
_POSE = ("yaw", "pitch", "roll")

#: What moves in each action, and the side of rest it moves to: 1 up, -1 down, 0 either. The head of embarrassment turns
#: to whichever side. A look upwards turns the head; the gaze alone is hardly seen by the landmarks.
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
#: Amplitude from which a driver shows a signal: share of a blendshape, degrees.
MIN_AMPLITUDE = dict.fromkeys(EXPRESSIONS, 0.1) | dict.fromkeys(_POSE, 4.0)
#: Frames with both faces below which nothing is said.
MIN_FRAMES = 5
_LOW, _HIGH = 2, 98
#: Frames at the start of a clip whose median is its rest. Animation by relative motion takes the driver's first frame
#: for the source's own pose, so what counts is the way from there.
_REST_FRAMES = 3


@dataclass(frozen=True)
class Transfer:
    """How an animation follows its driver in the signals of an action; NaN where nothing can be said."""

    #: Amplitude of the result over that of the driver, along the driver's curve: 1 the same, 0 no motion.
    slope: float
    #: Correlation of both curves, -1..1; 0 for a result that stands still.
    correlation: float


def measure_action(faces: Sequence[FaceLandmarks | None]) -> Signals:
    """Return the signals of a clip, (T,) float64 each, NaN in frames without a face.

    blink, jaw, smile and brow are means of blendshapes, 0..1; yaw, pitch and roll are degrees.
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
    """Return the range of a signal (T,) between its 2nd and 98th percentile; NaN frames do not count.

    Two percent of a clip of 60 frames is one frame, so a single wrong frame does not count, and a blink of two does.
    """
    seen = signal[np.isfinite(signal)]
    if len(seen) < MIN_FRAMES:
        return float("nan")
    low, high = np.percentile(seen, [_LOW, _HIGH])
    return float(high - low)


def action_direction(action: str, signals: Mapping[str, np.ndarray]) -> float:
    """Return how much of a clip's motion away from its first frames goes the action's way, -1..1.

    1: all of it. -1: all to the other side, e.g. a right slope that tilts to the left. NaN when the action has no side
    (yaw, nod) or the clip does not show it.
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
    """Return how much of the driver's action the result shows.

    The slope of the least-squares line of the result on the driver, over frames that show both faces. The intercept is
    free, because source and driver rest at different poses. A quotient of the two ranges would count the result's
    jitter and other motion as transfer; the regression counts only what happens when the driver does it. Noise in the
    driver's own signal draws the slope towards 0, by 1 / (1 + noise variance / signal variance), which
    ``MIN_AMPLITUDE`` keeps small: signals in which the driver moves less are left out. Where an action has several
    signals, the mean over those that the driver shows.

    Args:
        action: one of ``ACTION_SIGNALS``.
        driver, result: signals of both clips by ``measure_action``, frame by frame in step.

    Raises:
        ConfigError: unknown action.
        ValueError: clips of different lengths.
    """
    slopes, correlations = [], []
    for name in _signals_of(action):
        given, got = driver[name], result[name]
        if given.shape != got.shape:
            raise ValueError(f"driver and result must be in step, but have {len(given)} and {len(got)} frames")
        both = np.isfinite(given) & np.isfinite(got)
        if amplitude(given[both]) >= MIN_AMPLITUDE[name]:
            x, y = given[both] - given[both].mean(), got[both] - got[both].mean()
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
