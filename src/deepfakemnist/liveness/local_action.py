"""Local action liveness: facial action detection by blendshapes and head pose, without an API.

Commercial action liveness requests a motion and checks that the face performs it. This does the same with expression
and head pose of every frame (``faces.landmarks``), measured relative to the clip's own rest pose; no reference is used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import median_filter

from deepfakemnist.animation_quality.motion import MIN_AMPLITUDE, MIN_FRAMES, measure_action
from deepfakemnist.config.liveness import LocalActionSettings
from deepfakemnist.errors import Failed
from deepfakemnist.faces.landmarks import FaceLandmarker, FaceLandmarks
from deepfakemnist.liveness.protocol import Clip, Verdict

#: An action is detected when each of its movements reaches its limit. Blendshapes are in 0..1, head pose in degrees.
#: A limit is half of the mean over two real driving videos per action (cropped to 256×256, 25 fps), rounded: a user who
#: shows less than half of an action would be asked to repeat it. Comments give the values of the two driving videos.
#: Only the slight turn or bow of embarrassment uses the smallest amplitude that counts as head movement.
LIMITS: dict[str, dict[str, float]] = {
    "blink": {"blink": 0.25},  # 0.78, 0.32
    "mouth": {"jaw": 0.4},  # 0.90, 0.82
    "yaw": {"turn": 10.0},  # 18.5, 22.3
    "nod": {"down": 7.5},  # 17.1, 13.4
    "right_slope": {"tilt_right": 6.0},  # 12.8, 10.1
    "left_slope": {"tilt_left": 6.5},  # 12.6, 14.3
    "up": {"up": 13.0},  # 31.2, 21.1
    "smile": {"smile": 0.4},  # 0.77, 0.97
    "surprise": {"jaw": 0.4, "brow": 0.3},  # 0.82 and 0.44, 0.80 and 0.71
    "embarrassment": {"smile": 0.4, "turn_or_bow": MIN_AMPLITUDE["yaw"]},  # 0.70 and 4.5, 0.93 and 14.2
}
#: With a face in a smaller share of frames than this, the motion cannot be measured.
MIN_FACE_SHARE = 0.8
#: Lids that stay low belong to a downward gaze; a closure shorter than half of this is a blink (0.1 to 0.4 s).
_BLINK_WINDOW_S = 0.8
#: Head pose has no natural zero: its rest is the start of the clip, since an animation starts at its source's pose.
_REST_FRAMES = 3
#: Percentiles of an expression's rest and peak; the peak tolerates one outlier frame in fifty.
_REST, _PEAK = 10, 98


@dataclass(frozen=True)
class ActionScore:
    """Strength of an action: measured movements, their limits, and the smallest ratio of the two as score."""

    score: float
    measured: dict[str, float]
    limits: dict[str, float]


class LocalAction:
    """Action liveness; score = smallest ratio of measured movement to limit, live from 1."""

    name = "local-action"
    threshold = 1.0

    def __init__(self, settings: LocalActionSettings) -> None:
        """Load the landmark networks, which ship with this package."""
        self.settings = settings
        rules = repr((LIMITS, MIN_FACE_SHARE, _BLINK_WINDOW_S, _REST_FRAMES, _REST, _PEAK, settings.strength))
        self.version = f"limits-{hashlib.sha256(rules.encode()).hexdigest()[:16]}"
        self._landmarker = FaceLandmarker()

    def asked_motion(self, action: str) -> str:
        """Return the action itself."""
        return action

    def check(self, clip: Clip, action: str) -> Verdict:
        """Check a clip for ``action``. Raises Failed if it has no limits."""
        return self.check_all(clip, [action])[action]

    def check_all(self, clip: Clip, actions: Sequence[str]) -> dict[str, Verdict]:
        """Check a clip for several actions with one landmark pass."""
        for action in actions:
            if action not in LIMITS:
                raise Failed("unknown_action", f"action {action!r} is not one of {', '.join(LIMITS)}")
        faces = self._landmarker.track(clip.frames)
        found = sum(face is not None for face in faces)
        evidence: dict[str, Any] = {"frames": len(faces), "frames_with_face": found}
        if found < max(MIN_FACE_SHARE * len(faces), MIN_FRAMES):
            evidence["reason"] = "face_missing" if found else "no_face"
            return {action: Verdict(False, 0.0, self.threshold, evidence) for action in actions}
        moves = movements(faces, clip.fps)
        return {action: self._verdict(moves, action, evidence) for action in actions}

    def face_share(self, clip: Clip) -> float:
        """Return the share of frames that show a face, 0..1."""
        return float(np.mean([face is not None for face in self._landmarker.track(clip.frames)]))

    def _verdict(self, moves: dict[str, float], action: str, evidence: dict[str, Any]) -> Verdict:
        result = score_action(moves, action, self.settings.strength)
        evidence = {**evidence, "measured": result.measured, "limits": result.limits}
        if result.score < self.threshold:
            evidence["reason"] = "action_not_seen"
        return Verdict(result.score >= self.threshold, result.score, self.threshold, evidence)


def score_action(moves: dict[str, float], action: str, strength: float = 1.0) -> ActionScore:
    """Score movements against the limits of ``action``, scaled by ``strength``."""
    limits = {name: limit * strength for name, limit in LIMITS[action].items()}
    measured = {name: round(moves[name], 4) for name in limits}
    return ActionScore(max(min(measured[name] / limits[name] for name in limits), 0.0), measured, limits)


def movements(faces: Sequence[FaceLandmarks | None], fps: float) -> dict[str, float]:
    """Measure the peak excursion of a face from its rest per movement; frames without a face are ignored.

    Returns: blink, jaw, smile, brow (blendshape, 0..1); turn (to either side), down, up, tilt_left, tilt_right
        (to the subject's own shoulder) and turn_or_bow, the larger of turn and down (degrees).
    """
    signals = {name: signal[np.isfinite(signal)] for name, signal in measure_action(faces).items()}
    moves = {name: _rise(signals[name], np.percentile(signals[name], _REST)) for name in ("jaw", "smile", "brow")}
    lids = signals["blink"]
    window = 2 * round(_BLINK_WINDOW_S * fps / 2) + 1
    moves["blink"] = _rise(lids - median_filter(lids, window, mode="nearest"), 0.0)
    for name, up, down in (("pitch", "down", "up"), ("roll", "tilt_left", "tilt_right"), ("yaw", "left", "right")):
        rest = float(np.median(signals[name][:_REST_FRAMES]))
        moves[up], moves[down] = _rise(signals[name], rest), _rise(-signals[name], -rest)
    moves["turn"] = max(moves["left"], moves["right"])
    moves["turn_or_bow"] = max(moves["turn"], moves["down"])
    return moves


def _rise(signal: np.ndarray, rest: float) -> float:
    return float(np.percentile(signal, _PEAK) - rest)
