"""Ground-truth facial points of rendered faces, from the mesh instead of a landmark detector.

They are exact, cost nothing, and are known when occluded. The vertices that correspond to MediaPipe's points were
measured on 12 heads of the bank in five poses each: the vertex nearest on average lies within 0.013 to 0.034 of the
distance between the outer eye corners, and within 0.065 at the sides of the face, where MediaPipe's points themselves
drift. Eyelid points are the bank's landmarks, because those two meet when an eye closes.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from deepfakemnist.actors import Actor, Bank, Framing, Pose
from deepfakemnist.actors.pose import couple_gaze
from deepfakemnist.faces.facial_points import FACIAL_POINTS

#: Facial points that are landmarks of the bank.
_LANDMARKS = {
    "upper lid": "eyelid_upper",
    "lower lid": "eyelid_lower",
    "upper lip, inside": "lip_upper_inner",
    "lower lip, inside": "lip_lower_inner",
    "nose tip": "nose_tip",
}
#: Positions on the mean head, metres from between the eyes: sideways, backwards, up. See the module docstring.
_POSITIONS = {
    "mouth corner": (0.0223, -0.0200, -0.0686),
    "chin": (0.0, -0.0125, -0.1067),
    "brow": (0.0418, -0.0160, 0.0240),
    "side of the face": (0.0652, 0.0238, -0.0181),
    "forehead": (0.0, -0.0211, 0.0523),
    "outer eye corner": (0.0430, -0.0096, -0.0014),
    "inner eye corner": (0.0165, -0.0144, -0.0040),
}


def rendered_points(
    actor: Actor, pose: Pose, actions: dict[str, float], gaze: tuple[float, float], framing: Framing
) -> NDArray[np.float32]:
    """Return the (P, 2) pixel positions of ``FACIAL_POINTS``, visible or occluded, in ``actor.render``'s frame."""
    screen = actor.project_vertices(pose, actions, gaze, framing)
    points = screen[_vertices(actor.bank)]
    _, (aside, up) = couple_gaze(actions, gaze)
    aside, up = np.deg2rad(aside), np.deg2rad(up)
    sight = np.array([np.sin(aside) * np.cos(up), -np.cos(aside) * np.cos(up), np.sin(up)], np.float32)
    for side in ("left", "right"):
        points[_index(f"{side} iris")] = _iris(actor, screen, side, sight)
    return points.astype(np.float32)


def _iris(actor: Actor, screen: NDArray[np.float32], side: str, sight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the pixel where the line of sight leaves the eyeball, as the renderer paints it.

    Args:
        actor: owner of the eye.
        screen: (V, 2) pixels of the bank's vertices.
        side: left or right.
        sight: (3,) unit gaze direction relative to the head.
    """
    # The head's rotation is estimated from the upper teeth, which are rigid with the skull; eyeballs also turn with the
    # gaze. Both are so small that their projection is affine.
    head, teeth = actor.bank.heads[actor.identity], actor.bank.vertices_of("teeth_upper")
    in_head, on_screen = (points - points.mean(0) for points in (head[teeth], screen[teeth]))
    view, *_ = np.linalg.lstsq(in_head, on_screen, rcond=None)
    ball = actor.bank.vertices_of(f"eye_{side}")
    radius = np.linalg.norm(head[ball] - head[ball].mean(0), axis=1).max()
    return np.asarray(screen[ball].mean(0) + radius * sight @ view, np.float32)


@cache
def _vertices(bank: Bank) -> NDArray[np.int64]:
    """Return the vertex of every facial point; 0 for an iris, which is located by the gaze instead."""
    skin = bank.vertices_of("skin")
    found = []
    for name, _ in FACIAL_POINTS:
        side, _, rest = name.partition(" ")
        kind = rest if side in ("left", "right") else name
        if kind == "iris":
            found.append(0)
        elif kind in _LANDMARKS:
            landmark = _LANDMARKS[kind]
            found.append(bank.landmarks[landmark if kind == name else f"{side}_{landmark}"])
        else:
            position = np.array(_POSITIONS[kind]) * ((-1 if side == "right" else 1), 1, 1)
            found.append(int(skin[np.linalg.norm(bank.template[skin] - position, axis=1).argmin()]))
    return np.array(found)


def _index(name: str) -> int:
    return [known for known, _ in FACIAL_POINTS].index(name)
