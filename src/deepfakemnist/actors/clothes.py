"""Clothes texture of the bust, painted in frontal projection, and the mask of skin under cloth."""

from __future__ import annotations

import cv2
import numpy as np

from deepfakemnist.actors.fields import noise, smooth
from deepfakemnist.actors.layout import BUST, BUST_LEFT, BUST_SIDE_M, BUST_TOP
from deepfakemnist.actors.look import Look

#: Neckline by garment: height of its middle relative to the eyes, metres, and slope towards the shoulders.
_NECKLINE = {
    "tee": (-0.178, 0.9),
    "vneck": (-0.235, 1.25),
    "shirt": (-0.205, 1.35),
    "polo": (-0.200, 1.3),
    "turtleneck": (-0.130, 0.0),
    "hoodie": (-0.172, 0.7),
}
_TEXEL_M = BUST_SIDE_M / BUST


def covered(points: np.ndarray, clothes: str) -> np.ndarray:
    """Return the cloth coverage of template points, (...,3) metres: 0 skin .. 1 cloth."""
    aside, z = np.abs(points[..., 0]), points[..., 2]
    low, slope = _NECKLINE[clothes]
    curved = low + slope * aside if clothes in ("vneck", "shirt", "polo") else low + slope * 6.0 * aside**2
    line = np.minimum(curved, -0.128)  # around the neck, hidden behind the jaw
    return smooth(0.0015, -0.0015, z - line)


def paint_bust(look: Look, rng: np.random.Generator) -> np.ndarray:
    """Return (BUST,BUST,4) float32: linear RGB and gloss of neck, ears and clothes in frontal projection."""
    columns, rows = np.meshgrid(np.arange(BUST), np.arange(BUST))
    x = BUST_LEFT + columns * _TEXEL_M
    z = BUST_TOP - rows * _TEXEL_M
    points = np.stack([x, np.zeros_like(x), z], -1)
    shape = (BUST, BUST)
    skin = look.skin * (1 + 0.03 * noise(rng, shape, 30) + 0.025 * noise(rng, shape, 3))[..., None]
    ears = smooth(-0.09, -0.06, z)[..., None]
    skin = skin * (1 + ears * np.array([0.04, -0.08, -0.07], np.float32))
    cloth = np.ones((*shape, 3), np.float32) * look.cloth
    cloth = _pattern(cloth, look, x, z, rng)
    cloth *= 1 + 0.05 * noise(rng, shape, 2)[..., None]
    cloth *= _folds(x, z, rng)[..., None]
    cover = covered(points, look.clothes)
    edge = cover * (1 - smooth(0.0, 0.010, _depth(cover)))
    cloth *= (1 - 0.25 * edge)[..., None]  # the seam
    cloth = _details(cloth, look, x, z)
    shade = cv2.GaussianBlur(cover.astype(np.float32), (0, 0), 4) * (1 - cover)
    skin *= (1 - 0.55 * shade)[..., None]  # the cloth's shadow on the skin
    colour = skin * (1 - cover[..., None]) + cloth * cover[..., None]
    return np.dstack([colour, 0.22 * (1 - cover) + 0.03 * cover]).astype(np.float32)


def _depth(cover: np.ndarray) -> np.ndarray:
    """Return the distance of each texel from the edge of the garment, metres."""
    return cv2.distanceTransform((cover > 0.5).astype(np.uint8), cv2.DIST_L2, 3) * np.float32(_TEXEL_M)


def _pattern(cloth: np.ndarray, look: Look, x: np.ndarray, z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    second = look.cloth_second
    period = rng.uniform(0.018, 0.045)
    if look.pattern == "stripes":
        along = z if look.clothes in ("tee", "vneck", "polo") else x
        share = smooth(0.0, 0.25, np.sin(2 * np.pi * along / period) - rng.uniform(-0.3, 0.6))
    elif look.pattern == "checks":
        share = 0.5 * (np.sin(2 * np.pi * x / period) > 0.4) + 0.5 * (np.sin(2 * np.pi * z / period) > 0.4)
    elif look.pattern == "print":
        share = smooth(0.6, 0.75, np.abs(noise(rng, x.shape, 18))) * (np.hypot(x, (z + 0.33) * 1.2) < 0.09)
    else:
        return cloth
    return cloth + (second - cloth) * share[..., None].astype(np.float32)


def _folds(x: np.ndarray, z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a brightness factor near 1: soft folds that hang from the shoulders."""
    warp = 0.02 * noise(rng, x.shape, 60)
    hang = np.sin((np.abs(x) * rng.uniform(50, 80) + z * rng.uniform(-25, 25) + warp * 60) + rng.uniform(0, 6))
    return 1 + 0.10 * hang * smooth(-0.17, -0.26, z) + 0.06 * noise(rng, x.shape, 40)


def _details(cloth: np.ndarray, look: Look, x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Add the details of a garment: button placket, ribbed collar, drawstrings."""
    if look.clothes in ("shirt", "polo"):
        strip = smooth(0.013, 0.011, np.abs(x)) * (z < _NECKLINE[look.clothes][0] + 0.01)
        cloth = cloth * (1 + 0.10 * strip - 0.25 * strip * smooth(0.008, 0.011, np.abs(x)))[..., None]
        spacing = 0.055
        button = np.hypot(x, (z - _NECKLINE[look.clothes][0] + 0.02 + spacing / 2) % spacing - spacing / 2) < 0.0042
        cloth = np.where((button & (z < _NECKLINE[look.clothes][0]))[..., None], 0.35 + 0.4 * cloth, cloth)
    if look.clothes == "hoodie":
        string = (np.abs(np.abs(x) - 0.028 - 0.05 * np.maximum(-0.2 - z, 0)) < 0.003) & (z > -0.33)
        cloth = np.where(string[..., None], 0.5 + 0.4 * cloth, cloth)
    if look.clothes in ("tee", "turtleneck", "hoodie"):
        low, slope = _NECKLINE[look.clothes]
        rib = smooth(0.016, 0.014, low + slope * 6.0 * np.abs(x) ** 2 - z)
        cloth = cloth * (1 - 0.14 * rib)[..., None]
    return cloth
