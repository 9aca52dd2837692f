"""Where every surface of an actor lies in the one picture that colours it, the atlas."""

from __future__ import annotations

import numpy as np

from deepfakemnist.actors.bank import PARTS, TEXTURE_HEIGHT, TEXTURE_LEFT, TEXTURE_WIDTH, Bank
from deepfakemnist.actors.raster import interpolate, visibility

#: The bust is painted as seen from the front: this square of x and z, metres, over this many texels.
BUST_LEFT, BUST_TOP, BUST_SIDE_M, BUST = -0.30, 0.07, 0.60, 512
HAIR_TOP, HAIR = BUST + 8, 128  # streaks of hair, a square below the bust
SWATCH_TOP, SWATCH = HAIR_TOP + HAIR + 8, 16
#: Plain colours: linear RGB, then gloss.
PLAIN = {
    "teeth": (0.68, 0.62, 0.52, 0.45),
    "tongue": (0.42, 0.13, 0.12, 0.35),
    "lash": (0.012, 0.010, 0.010, 0.0),
    "eye": (0.62, 0.59, 0.57, 0.0),
    "frame": (0.0, 0.0, 0.0, 0.6),  # colour is the look's
    "cloth": (0.0, 0.0, 0.0, 0.02),  # colour is the look's
}
_PART_SWATCH = {
    **{"teeth_upper": "teeth", "teeth_lower": "teeth", "tongue": "tongue", "lashes": "lash"},
    **{"eye_left": "eye", "eye_right": "eye"},
}
_MAPS: dict[str, np.ndarray] = {}  # by the bank's hash


def swatch(name: str) -> tuple[float, float]:
    """Return the atlas position x, y of a plain colour."""
    return TEXTURE_WIDTH + (list(PLAIN).index(name) + 0.5) * SWATCH, SWATCH_TOP + SWATCH / 2


def bust_position(points: np.ndarray) -> np.ndarray:
    """Return (N,2) atlas positions of (N,3) points of the template, seen from the front."""
    texel = BUST / BUST_SIDE_M
    x = (points[:, 0] - BUST_LEFT) * texel
    y = (BUST_TOP - points[:, 2]) * texel
    return np.stack([TEXTURE_WIDTH + np.clip(x, 0, BUST - 1), np.clip(y, 0, BUST - 1)], 1).astype(np.float32)


def corner_positions(bank: Bank) -> tuple[np.ndarray, np.ndarray]:
    """Return (C,2) atlas positions and (F,3) int32 corners into them for every triangle of the bank."""
    skin = bank.part == PARTS.index("skin")
    uv = bank.uv[bank.corners]
    z = bank.template[bank.faces][..., 2].mean(1)
    # The arms reach into the head's window of the texture; ears and neck lie outside of it.
    in_window = skin & (uv[..., 0].min(1) >= TEXTURE_LEFT) & (z > -0.17)
    window = np.stack([(uv[..., 0] - TEXTURE_LEFT) * TEXTURE_HEIGHT, (1 - uv[..., 1]) * TEXTURE_HEIGHT], -1)
    bust = bust_position(bank.template)[bank.faces]
    positions = np.where(in_window[:, None, None], window, bust)
    for part, name in _PART_SWATCH.items():
        positions[bank.part == PARTS.index(part)] = swatch(name)
    corners = np.arange(positions.shape[0] * 3, dtype=np.int32).reshape(-1, 3)
    return positions.reshape(-1, 2).astype(np.float32), corners


def template_map(bank: Bank) -> np.ndarray:
    """Return (TEXTURE_HEIGHT, TEXTURE_WIDTH, 3) float32: the template's point under every texel, 9 where none is."""
    if bank.sha256 not in _MAPS:
        positions, corners = corner_positions(bank)
        inside = np.flatnonzero(
            (bank.part == PARTS.index("skin")) & (positions[corners][..., 0].max(1) < TEXTURE_WIDTH)
        )
        screen = np.concatenate([positions, np.zeros((len(positions), 1), np.float32)], 1)
        triangle, weights, _ = visibility(
            screen, corners[inside], np.ones(len(inside), bool), (TEXTURE_WIDTH, TEXTURE_HEIGHT)
        )
        points = interpolate(bank.template, bank.faces[inside], np.maximum(triangle, 0).ravel(), weights.reshape(-1, 2))
        points[triangle.ravel() < 0] = 9
        _MAPS[bank.sha256] = points.reshape(TEXTURE_HEIGHT, TEXTURE_WIDTH, 3)
    return _MAPS[bank.sha256]
