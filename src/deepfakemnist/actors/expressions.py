"""Random facial expressions and head poses for training an animator.

Two frames of a performance differ little; two of these differ in pose, gaze and expression at once, so every pair of
frames is a training pair with large motion.
"""

from __future__ import annotations

import numpy as np

from deepfakemnist.actors.pose import Pose

#: Maximum head rotation, degrees: slightly beyond the range of the ten actions.
_YAW, _PITCH, _ROLL = 28.0, 17.0, 24.0
#: Exponent of the sampled angles' magnitude; below 1 favours large angles.
_SPREAD = 0.4
_SHIFT, _ZOOM = 0.012, 0.04

Expression = tuple[Pose, dict[str, float], tuple[float, float]]


def random_expression(random: np.random.Generator) -> Expression:
    """Sample a pose, weights of facial actions and a gaze, in the form that ``Actor.render`` takes.

    30 % of the faces close their eyes, about half open the mouth, a quarter smile and 30 % raise the brows; eyes, mouth
    and brows are sampled independently.
    """
    weights: dict[str, float] = {}

    def add(weight: float, *names: str) -> None:
        for name in names:
            weights[name] = float(min(1.0, weights.get(name, 0.0) + weight))

    yaw, pitch, roll = (limit * random.uniform(-1, 1) * random.random() ** _SPREAD for limit in (_YAW, _PITCH, _ROLL))
    gaze = [random.uniform(-10, 10), random.uniform(-6, 6)]

    eyes = random.random()
    if eyes < 0.30:
        add(random.choice([1.0, 1.0, 0.8, 0.5]), *_both("eyeBlink"))
    elif eyes < 0.42:
        add(random.uniform(0.3, 1.0), *_both("eyeWide"))

    mouth = random.random()
    if mouth < 0.30:
        jaw = random.uniform(0.1, 0.9)
        add(jaw, "jawOpen")
        add(random.uniform(0.0, 0.3) * jaw, *_both("mouthLowerDown"))
        if random.random() < 0.3:
            add(random.uniform(0.0, 0.6), "mouthFunnel")
    elif mouth < 0.55:
        smile = random.uniform(0.4, 1.0)
        add(0.95 * smile, *_both("mouthSmile"))
        add(random.uniform(0.4, 0.8) * smile, *_both("cheekSquint"))
        add(random.uniform(0.1, 0.4) * smile, *_both("eyeSquint", "mouthUpperUp"))
        if random.random() < 0.3:
            add(random.uniform(0.0, 0.4), "jawOpen")
    elif mouth < 0.65:
        press = random.random()
        add(0.6 * press, *_both("mouthPress"))
        add(0.4 * press, "mouthRollLower")
        add(random.uniform(0.0, 0.6) * press, *_both("mouthSmile"))
    elif mouth < 0.70:
        add(random.uniform(0.3, 1.0), "mouthPucker")

    if random.random() < 0.3:
        add(random.uniform(0.3, 1.0), "browInnerUp", *_both("browOuterUp"))
        if random.random() < 0.5:
            add(random.uniform(0.3, 0.8), "jawOpen")

    look = random.random()
    if look < 0.12:
        gaze[1] = random.uniform(6, 14)
        pitch = -abs(pitch)
    elif look < 0.24:
        gaze[1] = -random.uniform(8, 20)

    x, y = random.normal(0, _SHIFT, 2)
    pose = Pose(yaw, pitch, roll, float(x), float(y), 1 + random.uniform(-_ZOOM, _ZOOM))
    return pose, weights, (gaze[0], gaze[1])


def _both(*names: str) -> list[str]:
    return [name + side for name in names for side in ("Left", "Right")]
