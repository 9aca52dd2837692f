"""Facial landmark vertices of the head mesh, located from its shape and the facial-action blendshapes."""

from __future__ import annotations

import numpy as np

from deepfakemnist.actors.bank import PARTS

#: Ground-truth landmarks, in output order. Left and right are the subject's.
LANDMARKS = (
    "left_eye_inner",
    "left_eye_outer",
    "left_eyelid_upper",
    "left_eyelid_lower",
    "right_eye_inner",
    "right_eye_outer",
    "right_eyelid_upper",
    "right_eyelid_lower",
    "left_brow_inner",
    "left_brow_middle",
    "left_brow_outer",
    "right_brow_inner",
    "right_brow_middle",
    "right_brow_outer",
    "nose_tip",
    "chin",
    "mouth_left",
    "mouth_right",
    "lip_upper_inner",
    "lip_lower_inner",
    "lip_upper_outer",
    "lip_lower_outer",
)
#: Centre line of the left brow on the template: x and z (height above the eyes), metres.
BROW = {"inner": (0.013, 0.018), "middle": (0.032, 0.0245), "outer": (0.049, 0.0185)}


def find_landmarks(
    template: np.ndarray, faces: np.ndarray, part: np.ndarray, actions: np.ndarray, names: list[str]
) -> dict[str, int]:
    """Return the vertex of every landmark in ``LANDMARKS``.

    Args:
        template: (V,3) mean head, metres; axes as in the package docstring.
        faces: (F,3) vertex indices; part: (F,) index into PARTS.
        actions: (A,V,3) displacements per facial action, metres; names: their ARKit names.
    """
    skin = np.unique(faces[part == PARTS.index("skin")])
    found: dict[str, int] = {}
    for side, sign in (("left", 1), ("right", -1)):
        found |= {f"{side}_{name}": v for name, v in _eye(template, skin, actions, names, faces, part, sign).items()}
        for name, (x, z) in BROW.items():
            found[f"{side}_brow_{name}"] = _nearest_in_front(template, skin, (sign * x, z))
    found |= _mouth(template, skin, actions[names.index("jawOpen")])
    middle = skin[(np.abs(template[skin, 0]) < 0.003) & (np.abs(template[skin, 2]) < 0.14)]
    found["nose_tip"] = int(middle[template[middle, 1].argmin()])
    below = middle[template[middle, 2] < template[found["lip_lower_outer"], 2] - 0.015]
    found["chin"] = int(below[template[below, 1].argmin()])
    return {name: found[name] for name in LANDMARKS}


def _eye(
    template: np.ndarray,
    skin: np.ndarray,
    actions: np.ndarray,
    names: list[str],
    faces: np.ndarray,
    part: np.ndarray,
    sign: int,
) -> dict[str, int]:
    """Return the landmarks of one eye: lid margins are vertices that a blink joins, corners the ends of the lashes."""
    side = "Left" if sign > 0 else "Right"
    ball = np.unique(faces[part == PARTS.index(f"eye_{side.lower()}")])
    centre = template[ball].mean(0)
    lashes = np.unique(faces[part == PARTS.index("lashes")])
    roots = lashes[template[lashes, 0] * sign > 0]
    reach = np.linalg.norm(template[roots] - centre, axis=1)
    roots = roots[reach < np.quantile(reach, 0.5)]
    blink = actions[names.index(f"eyeBlink{side}")]
    radius = np.linalg.norm(template[ball] - centre, axis=1).max()
    offset = template[skin] - centre
    near = skin[(np.linalg.norm(offset, axis=1) < radius * 1.15) & (offset[:, 1] < -radius * 0.6)]
    column = near[np.abs(template[near, 0] - centre[0]) < 0.0035]
    drop = blink[column, 2]
    upper = int(column[drop.argmin()])
    closed = template + blink
    still = column[np.abs(drop) < 0.35 * np.abs(drop).max()]
    lower = int(still[np.linalg.norm(closed[still] - closed[upper], axis=1).argmin()])
    ends = {"inner": roots[(template[roots, 0] * sign).argmin()], "outer": roots[(template[roots, 0] * sign).argmax()]}
    corners = {
        f"eye_{name}": int(skin[np.linalg.norm(template[skin] - template[end], axis=1).argmin()])
        for name, end in ends.items()
    }
    return corners | {"eyelid_upper": upper, "eyelid_lower": lower}


def _mouth(template: np.ndarray, skin: np.ndarray, opening: np.ndarray) -> dict[str, int]:
    """Return the landmarks of the mouth: the lips part where adjacent vertices separate as the jaw opens."""
    front = skin[(template[skin, 2] < -0.05) & (template[skin, 2] > -0.11) & (np.abs(template[skin, 0]) < 0.04)]
    front = front[template[front, 1] < template[front, 1].min() + 0.045]
    drop = opening[front, 2]
    middle = np.abs(template[front, 0]) < 0.003
    stays, falls = front[middle & (drop > -0.004)], front[middle & (drop < -0.008)]
    # Of the touching pairs take the foremost one: deeper pairs lie on the inside of the lips.
    gap = np.linalg.norm(template[stays][:, None] - template[falls][None], axis=2)
    depth = 0.5 * (template[stays, 1][:, None] + template[falls, 1][None])
    first, second = np.unravel_index((gap + 0.5 * depth).argmin(), gap.shape)
    upper, lower = int(stays[first]), int(falls[second])
    line = 0.5 * (template[upper, 2] + template[lower, 2])
    level = front[np.abs(template[front, 2] - line) < 0.006]
    spread = np.array([_separation(template, opening, front, vertex) for vertex in level])
    parting = level[spread > 0.5 * spread.max()]
    left = int(parting[template[parting, 0].argmax()])
    right = int(parting[template[parting, 0].argmin()])
    above = stays[(template[stays, 2] > template[upper, 2]) & (template[stays, 2] < template[upper, 2] + 0.014)]
    below = falls[(template[falls, 2] < template[lower, 2]) & (template[falls, 2] > template[lower, 2] - 0.016)]
    return {
        "lip_upper_inner": upper,
        "lip_lower_inner": lower,
        "lip_upper_outer": int(above[template[above, 2].argmax()]),
        "lip_lower_outer": int(below[template[below, 2].argmin()]),
        "mouth_left": left,
        "mouth_right": right,
    }


def _separation(template: np.ndarray, opening: np.ndarray, among: np.ndarray, vertex: int) -> float:
    """Return how far jaw opening separates a vertex from its neighbours within 6 mm, metres."""
    near = among[np.linalg.norm(template[among] - template[vertex], axis=1) < 0.006]
    return float(np.ptp(opening[near, 2]))


def _nearest_in_front(template: np.ndarray, skin: np.ndarray, target: tuple[float, float]) -> int:
    """Return the frontal skin vertex nearest to ``target``, (x, z) in metres."""
    front = skin[template[skin, 1] < 0.02]
    return int(front[np.hypot(template[front, 0] - target[0], template[front, 2] - target[1]).argmin()])
