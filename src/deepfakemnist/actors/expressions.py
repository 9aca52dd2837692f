"""Faces at random: any pose with any expression, each picture unlike the one before.

What an animator learns most from: two frames of a performance differ little, two of these differ in everything that
a face can do, and rest meets the peak of an action every time.
"""

from __future__ import annotations

import numpy as np

from deepfakemnist.actors.pose import Pose

#: Largest turn of the head, degrees: a little beyond what the ten actions reach.
_YAW, _PITCH, _ROLL = 28.0, 17.0, 24.0
#: Angles are drawn from the middle outwards to this power; below 1 favours large ones.
_SPREAD = 0.4
_SHIFT, _ZOOM = 0.012, 0.04

Expression = tuple[Pose, dict[str, float], tuple[float, float]]


def random_expression(random: np.random.Generator) -> Expression:
    """Return a pose, the weights of facial actions and a gaze, as ``Actor.render`` takes them.

    Of the faces 30 % close their eyes, about half open the mouth, a quarter smile, 30 % raise the brows; the parts are
    drawn on their own, so any may meet.
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
