"""What the demo's people do over time: the ten facial actions, and small natural motion as when talking."""

from __future__ import annotations

import math

import numpy as np

from deepfakemnist.demo.puppet import Pose
from deepfakemnist.ids import seed_from

#: Collins' portrait smiles; who is about to smile draws the corners of the mouth back first.
_RESTING_SMILE = -0.6


def perform(action: str, time: float) -> Pose:
    """Return the pose of a driver at ``time``, 0 (at rest) to 1 (end of the clip).

    Raises:
        KeyError: no such action; ``ACTIONS`` of ``settings`` are there.
    """
    held = _ease(time, 0.12, 0.42) * (1 - _ease(time, 0.82, 1.0))
    swing = math.sin(2 * math.pi * time)
    twice = math.sin(math.pi * 2 * time) ** 2
    match action:
        case "blink":
            return Pose(blink=max(_pulse(time, 0.28, 0.11), _pulse(time, 0.72, 0.11)))
        case "mouth":
            return Pose(jaw=1.3 * max(_pulse(time, 0.3, 0.17), _pulse(time, 0.72, 0.17)))
        case "yaw":
            return Pose(yaw=0.42 * swing, right=0.08 * swing)
        case "nod":
            return Pose(pitch=0.28 * twice, down=0.34 * twice)
        case "right_slope":
            return Pose(roll=-13 * held)
        case "left_slope":
            return Pose(roll=13 * held)
        case "up":
            return Pose(pitch=-0.28 * held, down=-0.34 * held)
        case "smile":
            return Pose(smile=_RESTING_SMILE + (0.6 - _RESTING_SMILE) * held, jaw=0.45 * held)
        case "surprise":
            # A startle begins with a blink.
            return Pose(jaw=held, brows=1.1 * held, blink=_pulse(time, 0.2, 0.12))
        case "embarrassment":
            # First the smile, then the head turns away and down.
            smiling = _ease(time, 0.08, 0.25) * (1 - _ease(time, 0.42, 0.6))
            turned = _ease(time, 0.42, 0.66) * (1 - _ease(time, 0.88, 1.0))
            return Pose(
                smile=_RESTING_SMILE + (0.5 - _RESTING_SMILE) * smiling, jaw=0.4 * smiling,
                yaw=0.3 * turned, pitch=0.15 * turned, right=0.1 * turned, down=0.28 * turned, roll=3 * turned,
            )  # fmt: skip
    raise KeyError(action)


def talk(seconds: float, seed: int, name: str) -> Pose:
    """Return the pose of a source at a time: slow sway, syllables, a blink now and then; the same for the same name."""
    rng = np.random.default_rng(seed_from("demo talk", seed, name))
    phases = rng.uniform(0, 2 * math.pi, 6)
    slow = [math.sin(2 * math.pi * rng.uniform(0.2, 0.5) * seconds + phase) for phase in phases[:5]]
    syllable = max(0.0, math.sin(2 * math.pi * 2.8 * seconds + phases[5])) * (0.6 + 0.4 * slow[0])
    every, first = rng.uniform(1.1, 2.0), rng.uniform(0.3, 1.0)
    since = (seconds - first) % every
    return Pose(
        roll=1.5 * slow[0], yaw=0.07 * slow[1], pitch=0.05 * slow[2], right=0.06 * slow[3], down=0.05 * slow[4],
        jaw=0.35 * syllable, smile=0.15 * (slow[2] + 1), blink=_pulse(min(since, every - since), 0.0, 0.10),
    )  # fmt: skip


def _ease(x: float, start: float, end: float) -> float:
    x = min(max((x - start) / (end - start), 0.0), 1.0)
    return x * x * (3 - 2 * x)


def _pulse(x: float, centre: float, half_width: float) -> float:
    """0 … 1 … 0 about ``centre``, with a flat top over its middle half."""
    return 1 - _ease(abs(x - centre), half_width / 2, half_width)
