"""Meshes of glasses and collars, fitted to a head."""

from __future__ import annotations

import numpy as np

from deepfakemnist.actors.attachment import Attachment, tube
from deepfakemnist.actors.bank import Bank
from deepfakemnist.actors.layout import swatch
from deepfakemnist.actors.look import Look

#: Half width and half height of a lens, metres; superellipse exponent (2 round, more is squarer); wire radius, metres.
_FRAMES = {
    "round": (0.0235, 0.0215, 2.0, 0.0011),
    "square": (0.0265, 0.0185, 4.5, 0.0017),
    "thin": (0.0255, 0.0165, 2.8, 0.0008),
}
#: Collars: profile from the skin outwards as (distance from the neck, height relative to the eyes), metres; relative
#: widening and drop (metres) at the front; half angle of the front opening, radians.
_COLLARS: dict[str, tuple[tuple[tuple[float, float], ...], float, float, float]] = {
    "turtleneck": (
        ((0.004, -0.175), (0.009, -0.150), (0.009, -0.128), (0.006, -0.122), (0.003, -0.127)), 0.0, 0.008, 0.0,
    ),
    "hoodie": (
        ((0.042, -0.205), (0.036, -0.165), (0.024, -0.148), (0.011, -0.150), (0.005, -0.170)), -0.45, 0.040, 0.0,
    ),
    **dict.fromkeys(
        ("shirt", "polo"), (((0.004, -0.165), (0.006, -0.130), (0.010, -0.126), (0.019, -0.148)), 0.3, 0.048, 0.28),
    ),
}  # fmt: skip
_COLLAR_POINTS = 41  # around the neck
_LENS_AHEAD_M = 0.009  # in front of the cornea
_TEMPLE_END_Y = 0.075  # above the ear


def glasses(bank: Bank, head: np.ndarray, look: Look) -> list[Attachment]:
    """Return the rims, bridge and temples of a pair of glasses; empty if the look has none."""
    if look.glasses == "none":
        return []
    half_width, half_height, power, wire = _FRAMES[look.glasses]
    # Anchored to a vertex of the skull, so that neither brows nor mouth move them.
    anchor = int(np.argmin(np.linalg.norm(bank.template - [0.0, -0.018, 0.010], axis=1)))
    anchor_point = head[anchor]
    eyes = {side: head[bank.vertices_of(f"eye_{side}")] for side in ("left", "right")}
    front = min(eye[:, 1].min() for eye in eyes.values()) - _LENS_AHEAD_M
    front = min(front, anchor_point[1] - 0.002)
    parts, inner, outer = [], {}, {}
    angle = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        centre = eyes[side].mean(0)
        x = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** (2 / power)
        z = np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** (2 / power)
        middle_x = centre[0] + sign * 0.002
        wrap = 0.10 * np.maximum(sign * x * half_width, 0) + 0.02 * half_width  # the frame curves around the face
        rim = np.stack([middle_x + half_width * x, front + wrap, centre[2] - 0.003 + half_height * z], 1)
        parts.append(tube(rim, wire, anchor, anchor_point, "frame", closed=True))
        inner[side] = np.array([middle_x - sign * half_width, front, centre[2] + 0.002])
        outer[side] = np.array([middle_x + sign * half_width, front + 0.003, centre[2] + 0.004])
        distance = np.abs(head[bank.vertices_of("skin")])
        at_temple = (np.abs(head[bank.vertices_of("skin"), 1] - 0.03) < 0.01) & (distance[:, 2] < 0.02)
        width = distance[at_temple, 0].max() + 0.003
        hinge = outer[side] + np.array([sign * 0.004, 0.003, 0])
        temple = np.stack(
            [
                outer[side],
                hinge,
                np.array([sign * width, 0.03, outer[side][2] + 0.001]),
                np.array([sign * width, _TEMPLE_END_Y, outer[side][2] - 0.002]),
            ]
        )
        parts.append(tube(temple, wire * 1.1, anchor, anchor_point, "frame"))
    bridge = np.stack([inner["left"], (inner["left"] + inner["right"]) / 2 + [0, -0.001, 0.003], inner["right"]])
    parts.append(tube(bridge, wire, anchor, anchor_point, "frame"))
    return parts


def collar(bank: Bank, head: np.ndarray, look: Look) -> list[Attachment]:
    """Return the collar of a garment (turtleneck, folded or hood); empty for a garment without one."""
    if look.clothes not in _COLLARS:
        return []
    profile, widening, dip, gap = _COLLARS[look.clothes]
    skin = bank.vertices_of("skin")
    z = bank.template[skin, 2]
    neck = skin[(z < -0.122) & (z > -0.136) & (np.abs(bank.template[skin, 0]) < 0.066)]
    low, high = head[neck].min(0), head[neck].max(0)
    around = np.linspace(0, 2 * np.pi, _COLLAR_POINTS)  # from the nape, past the throat and back
    ahead = 0.5 - 0.5 * np.cos(around)  # 0 at the nape .. 1 at the throat
    off, height = (np.array(column)[:, None] for column in zip(*profile, strict=True))
    reach = off * (1 + widening * ahead)
    points = np.stack(
        [
            0.5 * (low[0] + high[0]) + (0.5 * (high[0] - low[0]) + reach) * np.sin(around),
            0.5 * (low[1] + high[1]) + (0.5 * (high[1] - low[1]) + reach) * np.cos(around),
            height - dip * ahead**2,
        ],
        -1,
    )
    rows = len(profile)
    index = np.arange(rows * _COLLAR_POINTS).reshape(rows, _COLLAR_POINTS)
    closed = np.abs(around - np.pi) >= gap
    kept = closed[:-1] & closed[1:]
    a, b, c, d = (corner[:, kept] for corner in (index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]))
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([b, d, c], -1).reshape(-1, 3)])
    outward = np.stack([np.sin(around), np.cos(around), np.full(_COLLAR_POINTS, 0.25)], 1)
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    root, total = int(neck[np.argmax(head[neck, 1])]), rows * _COLLAR_POINTS
    return [
        Attachment(
            root=np.full(total, root),
            offset=points.reshape(-1, 3) - head[root],
            normal=np.tile(outward, (rows, 1)),
            head_weight=np.full(total, 0.04),
            ambient=np.repeat(np.linspace(0.6, 1.0, rows), _COLLAR_POINTS),
            faces=faces,
            atlas_xy=np.tile(np.array(swatch("cloth")), (total, 1)),
        )
    ]
