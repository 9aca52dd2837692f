"""Skin texture of a head in MakeHuman's uv layout: tone, lips, brows, stubble, blush and the scalp under the hair."""

from __future__ import annotations

import cv2
import numpy as np

from deepfakemnist.actors.bank import Bank
from deepfakemnist.actors.fields import noise, scalp, smooth
from deepfakemnist.actors.landmarks import BROW
from deepfakemnist.actors.layout import position_map
from deepfakemnist.actors.look import Look

_BLUSH = np.array([0.05, -0.11, -0.09], np.float32)  # more red, less green and blue
_LID_SHADE = np.array([0.10, 0.17, 0.16], np.float32)
_MOUTH = np.array([0.10, 0.02, 0.02], np.float32)  # linear RGB of the inside of the mouth


def paint_head(bank: Bank, look: Look, rng: np.random.Generator) -> np.ndarray:
    """Return (TEXTURE_HEIGHT, TEXTURE_WIDTH, 4) float32: linear RGB and gloss of the head."""
    points = position_map(bank)
    shape = points.shape[:2]
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    aside, front = np.abs(x), y < -0.005
    colour = np.ones((*shape, 3), np.float32) * look.skin
    for strength, grain in ((0.035, 40), (0.025, 9), (0.03, 2)):  # blotches, spots, pores
        colour *= 1 + strength * noise(rng, shape, grain)[..., None]
    cheek = np.exp(-(((aside - 0.038) / 0.020) ** 2) - ((z + 0.040) / 0.018) ** 2) * front
    nose = np.exp(-((aside / 0.014) ** 2) - ((z + 0.040) / 0.012) ** 2) * front
    colour *= 1 + ((cheek + 0.7 * nose) * rng.uniform(0.3, 1.2))[..., None] * _BLUSH
    lid = np.exp(-(((aside - 0.030) / 0.017) ** 2) - ((z - 0.004) / 0.010) ** 2) * front
    colour *= 1 - lid[..., None] * _LID_SHADE
    if look.freckles:
        spots = np.clip(noise(rng, shape, 4) - 1.4, 0, 1) * np.clip(cheek + nose, 0, 1) * look.freckles
        colour *= 1 - spots[..., None] * np.array([0.25, 0.4, 0.5], np.float32)
    nostril = np.exp(-(((aside - 0.0075) / 0.004) ** 2) - ((z + 0.0475) / 0.0025) ** 2) * front
    colour *= 1 - 0.55 * nostril[..., None]
    lips = cv2.GaussianBlur(bank.masks["lips"], (0, 0), 1.2)
    creases = 1 + 0.06 * noise(rng, shape, 3)
    colour += (look.lips * creases[..., None] - colour) * (0.85 * lips)[..., None]
    colour *= 1 - _lid_line(bank, points, look)[..., None]
    _stubble(colour, look, points, lips, rng)
    _brows(colour, look, points, rng)
    hair = scalp(points, look.style) * (np.abs(points).max(-1) < 5)
    cover = {"bald": 0.10, "buzz": 0.88, "receding": 0.93}.get(look.style, 0.98)
    strands = np.clip(0.75 + 0.16 * noise(rng, shape, 3) + 0.12 * noise(rng, shape, 1), 0.3, 1.3)
    colour += (look.hair * strands[..., None] - colour) * (hair * cover)[..., None]
    mouth = cv2.GaussianBlur(bank.masks["mouth"], (0, 0), 1.0)[..., None]
    colour += (_MOUTH - colour) * mouth
    gloss = 0.30 + 0.22 * np.exp(-((aside / 0.022) ** 2)) * front + 0.35 * lips
    return np.dstack([colour, gloss * (1 - 0.7 * hair)]).astype(np.float32)


def beard_area(points: np.ndarray, kind: str) -> np.ndarray:
    """Return the beard coverage of template points, (...,3) metres: 0..1."""
    x, y, z = np.abs(points[..., 0]), points[..., 1], points[..., 2]
    chin = smooth(-0.070, -0.080, z) * smooth(0.036, 0.026, x) * smooth(0.010, -0.004, y)
    moustache = smooth(-0.0625, -0.0595, z) * smooth(-0.0475, -0.0515, z) * smooth(0.030, 0.024, x) * (y < 0)
    sides = smooth(0.019, 0.024, x) * smooth(0.036, 0.030, x) * smooth(-0.05, -0.058, z) * (y < 0)
    jaw_line = np.interp(y, [-0.02, 0.0, 0.02, 0.045], [-0.066, -0.062, -0.035, 0.0])
    jaw = smooth(0.000, -0.012, z - jaw_line) * smooth(0.055, 0.045, y) * smooth(0.026, 0.034, x + 0.3 * (z < -0.075))
    under = smooth(-0.132, -0.120, z) * smooth(0.060, 0.035, y)
    if kind == "moustache":
        return moustache
    if kind == "goatee":
        return np.clip(np.maximum.reduce([chin, moustache, sides * (z < -0.05)]) * under, 0, 1)
    return np.clip(np.maximum.reduce([chin, moustache, sides, jaw]) * under, 0, 1)


def _lid_line(bank: Bank, points: np.ndarray, look: Look) -> np.ndarray:
    """Return the darkening of the lid margins, where the lashes root, 0..1."""
    dark = np.zeros(points.shape[:2], np.float32)
    for side in ("left", "right"):
        ball = bank.template[bank.vertices_of(f"eye_{side}")]
        centre = ball.mean(0)
        radius = np.linalg.norm(ball - centre, axis=1).max()
        rim = smooth(1.16, 1.07, np.linalg.norm(points - centre, axis=-1) / radius)
        dark = np.maximum(dark, rim * np.where(points[..., 2] > centre[2] - 0.002, 0.8, 0.3))
    return dark * (0.6 + 0.3 * look.lash_length)


def _stubble(colour: np.ndarray, look: Look, points: np.ndarray, lips: np.ndarray, rng: np.random.Generator) -> None:
    """Darken the skin under a beard, in place."""
    if look.beard == "none":
        return
    dense = {"stubble": 0.45, "moustache": 0.93, "goatee": 0.93, "full": 0.95}[look.beard]
    area = beard_area(points, "full" if look.beard == "stubble" else look.beard) * (1 - np.clip(1.3 * lips, 0, 1))
    dots = np.clip(0.9 + (0.3 if look.beard == "stubble" else 0.05) * noise(rng, lips.shape, 1), 0, 1)
    colour += (look.hair - colour) * (area * dense * dots)[..., None]


def _brows(colour: np.ndarray, look: Look, points: np.ndarray, rng: np.random.Generator) -> None:
    """Paint both brows, in place: single hairs over a soft band."""
    x, z = points[..., 0], points[..., 2]
    offsets, heights = np.array(list(BROW.values())).T
    curve = np.polyfit(offsets, heights + look.brow_lift, 2)
    along = (np.abs(x) - offsets[0]) / (offsets[-1] - offsets[0])
    middle = np.polyval(curve, np.abs(x))
    half = look.brow_thickness * np.interp(along, [-0.1, 0.15, 0.6, 1.1], [0.75, 1.0, 0.8, 0.3])
    band = np.exp(-(((z - middle) / half) ** 2)) * smooth(-0.08, 0.06, along) * smooth(1.08, 0.9, along)
    band *= points[..., 1] < 0.02
    hairs = np.clip(0.85 + 0.35 * cv2.GaussianBlur(noise(rng, x.shape, 1), (0, 0), 0.8), 0, 1)
    dark = np.minimum(0.5 * look.hair, 0.25 * look.skin + 0.01)  # darker than the hair, never paler than skin
    colour += (dark - colour) * np.clip(1.25 * band * hairs, 0, 0.95)[..., None]
