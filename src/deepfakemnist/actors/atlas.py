"""Texture atlas of an actor: skin of the head, clothes, hair and plain colours.

A texel is linear R, G, B and gloss, float32 in 0..1.
"""

from __future__ import annotations

import cv2
import numpy as np

from deepfakemnist.actors.bank import TEXTURE_HEIGHT, TEXTURE_WIDTH, Bank
from deepfakemnist.actors.clothes import paint_bust
from deepfakemnist.actors.fields import noise
from deepfakemnist.actors.layout import BUST, HAIR, HAIR_TOP, PLAIN, SWATCH, swatch
from deepfakemnist.actors.look import Look
from deepfakemnist.actors.skin import paint_head


def paint(bank: Bank, look: Look, rng: np.random.Generator) -> np.ndarray:
    """Return the atlas for a look, (TEXTURE_HEIGHT, TEXTURE_WIDTH + BUST, 4) float32."""
    atlas = np.zeros((TEXTURE_HEIGHT, TEXTURE_WIDTH + BUST, 4), np.float32)
    atlas[:, :TEXTURE_WIDTH] = paint_head(bank, look, rng)
    atlas[:BUST, TEXTURE_WIDTH:] = paint_bust(look, rng)
    atlas[HAIR_TOP : HAIR_TOP + HAIR, TEXTURE_WIDTH : TEXTURE_WIDTH + HAIR] = _hair_texture(look, rng)
    for name, value in PLAIN.items():
        x, y = (int(texel) for texel in swatch(name))
        half = SWATCH // 2
        atlas[y - half : y + half, x - half : x + half] = value
        colour = {"frame": look.glasses_colour, "cloth": look.cloth}.get(name)
        if colour is not None:
            atlas[y - half : y + half, x - half : x + half, :3] = colour
    return np.clip(atlas, 0, 1, out=atlas)


def _hair_texture(look: Look, rng: np.random.Generator) -> np.ndarray:
    """Return (HAIR,HAIR,4): parallel strands, roots at the top and tips at the bottom."""
    across = np.clip(1 + 0.20 * noise(rng, (1, HAIR), 1) + 0.16 * noise(rng, (1, HAIR), 6), 0.45, 1.6)
    along = np.linspace(0.62, 1.12, HAIR, dtype=np.float32)[:, None]
    grain = 1 + 0.05 * cv2.GaussianBlur(noise(rng, (HAIR, HAIR), 1), (0, 0), sigmaX=0.5, sigmaY=6)
    colour = look.hair * (across * along * grain)[..., None]
    return np.dstack([colour, np.full((HAIR, HAIR), 0.22, np.float32)])
