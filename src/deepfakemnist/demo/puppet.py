"""Moving a portrait by known warps: eyelids, lips, jaw and brows, then the head.

All in face coordinates (``Portrait.frame``): eye distances from the point between the eyes, u across, v down the face.
Pictures are warped backwards: for every pixel shown, where in the portrait it comes from.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from deepfakemnist.demo.portraits import Portrait, sample

#: The part of the face that expressions change, as (left, top, right, bottom).
_FACE = (-1.5, -0.9, 1.5, 2.6)
#: Half the width of an eye with its lids, half the height of its opening, and how far up the lid has skin to spare.
_EYE_WIDTH, _EYE_HEIGHT, _LID = 0.25, 0.085, 0.21
#: How far the lower lip drops with the mouth wide open, and how much of that the jaw's sides follow.
_GAP, _JAW = 0.38, 0.85
_DARK, _TONGUE = np.array([42, 14, 14], np.float32), np.array([118, 52, 50], np.float32)
#: Head and hair as an ellipse: centre, half axes, and the width of the zone that gives way to the still background.
_HEAD_CENTRE, _HEAD_AXES, _HEAD_FADE = 0.1, (1.75, 2.0), 0.9
#: The head tilts about the neck.
_NECK = 2.0
#: Every n-th pixel's head motion is computed, the rest interpolated; the field is smooth.
_STEP = 4


@dataclass(frozen=True)
class Pose:
    """What the puppet does in one frame; all zeros is the portrait itself."""

    #: In-plane tilt, degrees; positive is clockwise as seen, towards the subject's own left shoulder.
    roll: float = 0.0
    #: Turn and nod: eye distances that the nose moves against the ears, ±0.5 at most; right and down positive.
    yaw: float = 0.0
    pitch: float = 0.0
    #: Shift of the whole head, eye distances.
    right: float = 0.0
    down: float = 0.0
    #: About 0..1 each: lids closed, jaw dropped, mouth corners drawn out (in, when negative), brows raised.
    blink: float = 0.0
    jaw: float = 0.0
    smile: float = 0.0
    brows: float = 0.0


def render(portrait: Portrait, pose: Pose) -> np.ndarray:
    """Return the portrait in that pose, (H, W, 3) uint8 RGB, of the portrait's size."""
    return _move_head(portrait, _express(portrait, pose), pose)


def _express(portrait: Portrait, pose: Pose) -> np.ndarray:
    """Change the face; the head stays where it is."""
    if not (pose.blink or pose.jaw or pose.smile or pose.brows):
        return portrait.picture
    height, width = portrait.picture.shape[:2]
    left, top, right, bottom = _FACE
    corners = portrait.in_picture(np.array([(left, top), (right, top), (left, bottom), (right, bottom)]))
    x0, y0 = np.maximum(corners.min(0).astype(int), 0)
    x1, y1 = np.minimum(corners.max(0).astype(int) + 1, (width, height))
    grid = np.stack(np.meshgrid(np.arange(x0, x1), np.arange(y0, y1)), axis=-1).astype(np.float32)
    points = portrait.in_face(portrait.points)
    u, v = np.moveaxis(portrait.in_face(grid), -1, 0)

    u, v = _corners_and_brows(u, v, points, pose)
    v, inside, depth = _open_mouth(u, v, points, pose.jaw)
    lash = np.zeros_like(v)
    for eye in points[:2]:
        v, line = _close_lid(u, v, eye, pose.blink)
        lash = np.maximum(lash, line)
    face = sample(portrait.picture, portrait.in_picture(np.stack([u, v], axis=-1)))
    mouth = _DARK + (_TONGUE - _DARK) * depth[..., None] ** 2
    painted = face * (1 - 0.55 * lash[..., None])
    painted += (mouth - painted) * inside[..., None]
    picture = portrait.picture.copy()
    picture[y0:y1, x0:x1] = np.clip(np.rint(painted), 0, 255)
    return picture


def _bump(u: np.ndarray, v: np.ndarray, at: np.ndarray, wide: float, high: float) -> np.ndarray:
    return np.exp(-(((u - at[0]) / wide) ** 2) - ((v - at[1]) / high) ** 2)


def _smoothstep(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def _corners_and_brows(u: np.ndarray, v: np.ndarray, points: np.ndarray, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
    """Mouth corners go out and up with a smile, down and in with a dropped jaw; brows go up."""
    shift_u, shift_v = np.zeros_like(u), np.zeros_like(v)
    for corner, side in ((points[3], -1), (points[4], 1)):
        near = _bump(u, v, corner, 0.30, 0.26)
        shift_u += side * near * (0.20 * pose.smile - 0.06 * pose.jaw)
        shift_v += near * (-0.18 * pose.smile + 0.20 * pose.jaw)
    for eye in points[:2]:
        shift_v -= 0.13 * pose.brows * _bump(u, v, eye + np.array([0, -0.36]), 0.42, 0.22)
    return u - shift_u, v - shift_v


def _open_mouth(
    u: np.ndarray, v: np.ndarray, points: np.ndarray, jaw: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Part the lips and drop the jaw.

    Returns: v in the portrait; share of each pixel that is the open mouth's inside, 0..1; depth in it, 0 at the upper
        lip, 1 at the lower.
    """
    right, left, lips, chin = points[3], points[4], points[5], points[6]
    across = (u - lips[0]) / (0.92 * (left[0] - right[0]) / 2)
    line = lips[1] + ((right[1] + left[1]) / 2 - lips[1]) * np.clip(across**2, 0, 1)
    gap = _GAP * jaw * np.sqrt(np.clip(1 - across**2, 0, 1))
    below = v - line - gap
    follows = _JAW * _GAP * jaw * np.exp(-(((u - lips[0]) / 0.85) ** 4))
    drop = gap + (follows - gap) * _smoothstep(below / 0.6)
    # The neck takes up what the chin came down.
    drop = drop * (1 - _smoothstep((v - chin[1] - _JAW * _GAP * jaw) / 0.7))
    soft = 0.02
    inside = np.clip((v - line) / soft, 0, 1) * np.clip(-below / soft, 0, 1) * (gap > 0)
    depth = np.clip((v - line) / np.maximum(gap, 1e-6), 0, 1)
    return np.where(below >= 0, v - drop, np.minimum(v, line)), inside, depth


def _close_lid(u: np.ndarray, v: np.ndarray, eye: np.ndarray, blink: float) -> tuple[np.ndarray, np.ndarray]:
    """Draw the upper lid's skin down over the eye.

    Returns: v in the portrait, and how strongly the lashes darken each pixel, 0..1.
    """
    du, dv = u - eye[0], v - eye[1]
    opening = _EYE_HEIGHT * np.sqrt(np.clip(1 - (du / _EYE_WIDTH) ** 2, 0, 1))
    upper = -1.25 * opening
    edge = upper + blink * 2.2 * opening
    stretched = -_LID + (dv + _LID) * (upper + _LID) / (edge + _LID)
    lid = (dv > -_LID) & (dv < edge)
    lash = blink * np.exp(-(((dv - edge) / 0.022) ** 2)) * (opening > 0)
    return np.where(lid, stretched + eye[1], v), lash


def _move_head(portrait: Portrait, picture: np.ndarray, pose: Pose) -> np.ndarray:
    """Tilt, turn, nod and shift the head over a background that stays."""
    if not (pose.roll or pose.yaw or pose.pitch or pose.right or pose.down):
        return picture
    height, width = picture.shape[:2]
    xs, ys = np.arange(0, width + _STEP, _STEP), np.arange(0, height + _STEP, _STEP)
    grid = np.stack(np.meshgrid(xs, ys), axis=-1).astype(np.float32)
    shown = portrait.in_face(grid)
    source = shown
    for _ in range(3):  # the source that lands on a pixel solves source + displacement(source) = pixel
        source = shown - _head_displacement(source, pose)
    coarse = portrait.in_picture(source).astype(np.float32)
    to_full = np.array([[_STEP, 0, 0], [0, _STEP, 0]], dtype=np.float64)
    full = cv2.warpAffine(coarse, to_full, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return sample(picture, full)


def _head_displacement(face: np.ndarray, pose: Pose) -> np.ndarray:
    """(..., 2) face coordinates of the resting head → how far each moves."""
    u, v = face[..., 0], face[..., 1]
    # A face is an ellipsoid with a nose on it: what is nearer moves further when the head turns.
    depth = 0.8 * np.exp(-(u**2) - ((v - 0.5) / 1.4) ** 2)
    depth += 0.45 * np.exp(-((u / 0.24) ** 2) - ((v - 0.5) / 0.30) ** 2)
    angle = np.radians(pose.roll)
    cos, sin = np.cos(angle), np.sin(angle)
    along = cos * u - sin * (v - _NECK) - u + pose.right + pose.yaw * depth
    down = sin * u + cos * (v - _NECK) + _NECK - v + pose.down + pose.pitch * depth
    distance = np.hypot(u / _HEAD_AXES[0], (v - _HEAD_CENTRE) / _HEAD_AXES[1])
    share = 1 - _smoothstep((distance - 1) / _HEAD_FADE)
    return np.stack([along * share, down * share], axis=-1)
