"""Facial points of rendered faces, from the mesh instead of a landmark detector: exact, free, and known when hidden.

The mesh has vertices where MediaPipe puts its points. Which, was measured on 12 heads of the bank in five poses each:
the vertex nearest on average is within 0.013 to 0.034 distances between the outer eye corners, and within 0.065 at the
sides of the face, where MediaPipe's own points wander. Lids are the bank's own landmarks, because these two meet when
an eye closes.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from deepfakemnist.actors import Actor, Bank, Framing, Pose
from deepfakemnist.actors.pose import with_gaze
from deepfakemnist.faces.facial_points import FACIAL_POINTS

#: Landmarks of the bank that are the point meant.
_LANDMARKS = {
    "upper lid": "eyelid_upper",
    "lower lid": "eyelid_lower",
    "upper lip, inside": "lip_upper_inner",
    "lower lip, inside": "lip_lower_inner",
    "nose tip": "nose_tip",
}
#: Places on the mean head, metres from between the eyes: to the side, backwards, up. See the module's docstring.
_PLACES = {
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
    """Return (P, 2) pixels of ``FACIAL_POINTS`` in the picture that ``actor.render`` makes, seen or hidden."""
    screen = actor.positions(pose, actions, gaze, framing)
    points = screen[_vertices(actor.bank)]
    _, (aside, up) = with_gaze(actions, gaze)
    aside, up = np.deg2rad(aside), np.deg2rad(up)
    looks = np.array([np.sin(aside) * np.cos(up), -np.cos(aside) * np.cos(up), np.sin(up)], np.float32)
    for side in ("left", "right"):
        points[_index(f"{side} iris")] = _iris(actor, screen, side, looks)
    return points.astype(np.float32)


def _iris(actor: Actor, screen: NDArray[np.float32], side: str, looks: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return where the line of sight leaves the eyeball, as the renderer paints it.

    Args:
        actor: whose eye.
        screen: (V, 2) pixels of the bank's vertices.
        side: left or right.
        looks: (3,) unit, relative to the head.
    """
    # How the head lies is read off the upper teeth, which move with nothing else; eyeballs also turn with the gaze.
    # Both are so small that the camera's view of them is affine.
    head, teeth = actor.bank.heads[actor.identity], actor.bank.vertices_of("teeth_upper")
    in_head, on_screen = (places - places.mean(0) for places in (head[teeth], screen[teeth]))
    view, *_ = np.linalg.lstsq(in_head, on_screen, rcond=None)
    ball = actor.bank.vertices_of(f"eye_{side}")
    radius = np.linalg.norm(head[ball] - head[ball].mean(0), axis=1).max()
    return np.asarray(screen[ball].mean(0) + radius * looks @ view, np.float32)


@cache
def _vertices(bank: Bank) -> NDArray[np.int64]:
    """Return the vertex of every facial point; of an iris, any."""
    skin = bank.vertices_of("skin")
    found = []
    for name, _ in FACIAL_POINTS:
        side, _, rest = name.partition(" ")
        what = rest if side in ("left", "right") else name
        if what == "iris":
            found.append(0)
        elif what in _LANDMARKS:
            landmark = _LANDMARKS[what]
            found.append(bank.landmarks[landmark if what == name else f"{side}_{landmark}"])
        else:
            place = np.array(_PLACES[what]) * ((-1 if side == "right" else 1), 1, 1)
            found.append(int(skin[np.linalg.norm(bank.template[skin] - place, axis=1).argmin()]))
    return np.array(found)


def _index(name: str) -> int:
    return [known for known, _ in FACIAL_POINTS].index(name)
