"""Action liveness without an API: does the clip show the commanded facial action?

A commercial action liveness asks for a motion and looks for it. This does the same with what the face detector gives
anyway: five landmarks per frame and the aligned regions of eyes and mouth (``face_motion``). No extra weights.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepfakemnist.errors import Failed
from deepfakemnist.faces.detect import FaceDetector
from deepfakemnist.liveness.face_motion import FaceMotion, measure_motion
from deepfakemnist.liveness.protocol import Verdict
from deepfakemnist.settings import LocalMotionSettings

#: The action is seen when every signal that it needs changes by at least its limit. Limits were set on twenty segments
#: of real talking-head video, two per action, cropped to 256×256 at 25 fps, every second frame looked at. Behind each
#: stand the two values measured there (four for the slopes, whose side is not told apart), then the 75th percentile of
#: 24 clips of people who were merely talking. Nineteen of the twenty pass; the slope at 2.9° does not. Of the 24, from
#: none (surprise) to half (slopes) and more (smile 14) pass too: people who talk also smile and tilt their heads.
LIMITS: dict[str, dict[str, float]] = {
    "blink": {"eye_change": 0.26},  # 0.54, 0.45; talking 0.22
    "mouth": {"mouth_change": 0.22},  # 0.52, 0.27; talking 0.27
    "yaw": {"yaw": 0.15},  # 0.32, 0.20; talking 0.12
    "nod": {"pitch": 0.045, "height": 0.3},  # 0.131 and 0.45, 0.066 and 0.37; talking 0.06 and 0.29
    "right_slope": {"roll": 4.0},  # 2.9, 9.8, 7.8, 4.4; talking 5.6
    "left_slope": {"roll": 4.0},
    "up": {"pitch": 0.045, "height": 0.3},  # 0.103 and 0.52, 0.119 and 0.56
    "smile": {"mouth_change": 0.15},  # 0.20, 0.55; talking 0.27
    "surprise": {"eye_mouth": 0.15, "eye_change": 0.2},  # 0.212 and 0.31, 0.268 and 0.31; talking 0.11 and 0.22
    "embarrassment": {"height": 0.12, "mouth_change": 0.1},  # 0.156 and 0.41, 0.142 and 0.12; talking 0.29 and 0.27
}
#: Signals that rest at zero and rise; the others swing about a rest position, so their range counts.
_RISING = ("eye_change", "mouth_change")
#: Signals whose largest departure from the start goes into the evidence, with its sign.
_EXCURSIONS = ("roll", "yaw", "pitch", "height", "mouth_width")
#: Outliers of the landmarks do not count: a signal's range is taken between these percentiles.
_LOW, _HIGH = 5, 95
#: Below this share of looked-at frames with a face nothing can be said about the face's motion.
MIN_FOUND_FRACTION = 0.8
#: Grey levels between neighbouring looked-at frames below which a clip is a still photograph. The quietest real clip
#: measured 0.49; a photograph in a lossless clip has exactly 0.
STILL_FLICKER = 0.05


@dataclass(frozen=True)
class ActionScore:
    """How clearly an action shows: measured changes, their limits, and the least of their quotients."""

    score: float
    measured: dict[str, float]
    limits: dict[str, float]


class LocalMotion:
    """Score = least quotient of measured change and limit; live from 1."""

    name = "local-motion"
    threshold = 1.0

    def __init__(self, settings: LocalMotionSettings) -> None:
        """Needs nothing but the face detector's weights, which a package ships."""
        self.settings = settings
        rules = repr((LIMITS, MIN_FOUND_FRACTION, STILL_FLICKER, settings.strength, settings.every))
        self.version = f"limits-{hashlib.sha256(rules.encode()).hexdigest()[:16]}"
        self._detector = FaceDetector()

    def asks(self, action: str) -> str:
        """The action itself."""
        return action

    def check(self, clip: np.ndarray, fps: float, action: str) -> Verdict:
        """Judge a clip (T, H, W, 3) uint8 RGB.

        Raises:
            Failed: there is no limit for ``action``.
        """
        if action not in LIMITS:
            raise Failed("unknown_action", f"action {action!r} is not one of {', '.join(LIMITS)}")
        motion = measure_motion(clip, self._detector, self.settings.every)
        evidence: dict[str, Any] = {
            "frames_looked_at": motion.looked,
            "frames_with_face": motion.found,
            "flicker": round(motion.flicker, 4),
        }
        refusal = _refusal(motion)
        if refusal:
            return Verdict(False, 0.0, self.threshold, {**evidence, "reason": refusal})
        seen = score_action(motion, action, self.settings.strength)
        evidence |= {
            "measured": seen.measured,
            "limits": seen.limits,
            # Signed, so that a left slope can be told from a right one: see FaceMotion for what is positive.
            "excursion": {name: round(_excursion(getattr(motion, name)), 4) for name in _EXCURSIONS},
        }
        if seen.score < self.threshold:
            evidence["reason"] = "action_not_seen"
        return Verdict(seen.score >= self.threshold, seen.score, self.threshold, evidence)


def score_action(motion: FaceMotion, action: str, strength: float = 1.0) -> ActionScore:
    """Hold a clip's motion against the limits of ``action`` times ``strength``; the motion must hold a face."""
    limits = {name: limit * strength for name, limit in LIMITS[action].items()}
    measured = {name: round(_change(motion, name), 4) for name in limits}
    return ActionScore(min(measured[name] / limit for name, limit in limits.items()), measured, limits)


def _refusal(motion: FaceMotion) -> str:
    """Why a clip cannot be live whatever the action; empty when it can."""
    if not motion.found:
        return "no_face"
    if motion.found_fraction < MIN_FOUND_FRACTION:
        return "face_missing"
    if motion.flicker < STILL_FLICKER:
        return "still_picture"
    return ""


def _change(motion: FaceMotion, name: str) -> float:
    signal = getattr(motion, name)
    low, high = np.percentile(signal, [_LOW, _HIGH])
    return float(high) if name in _RISING else float(high - low)


def _excursion(signal: np.ndarray) -> float:
    """Largest departure from the first frame, with its sign."""
    away = signal - signal[0]
    return float(away[np.argmax(np.abs(away))])
