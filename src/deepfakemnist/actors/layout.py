"""Layout of the texture atlas: atlas coordinates of every surface of an actor."""

from __future__ import annotations

import numpy as np

from deepfakemnist.actors.bank import PARTS, TEXTURE_HEIGHT, TEXTURE_LEFT, TEXTURE_WIDTH, Bank
from deepfakemnist.media.raster import interpolate, visibility

#: The bust is painted in frontal projection: a square of x and z, metres, over BUST × BUST texels.
BUST_LEFT, BUST_TOP, BUST_SIDE_M, BUST = -0.30, 0.07, 0.60, 512
HAIR_TOP, HAIR = BUST + 8, 128  # hair texture, a square below the bust
SWATCH_TOP, SWATCH = HAIR_TOP + HAIR + 8, 16
#: Plain colours: linear RGB and gloss.
PLAIN = {
    "teeth": (0.68, 0.62, 0.52, 0.45),
    "tongue": (0.42, 0.13, 0.12, 0.35),
    "lash": (0.012, 0.010, 0.010, 0.0),
    "eye": (0.62, 0.59, 0.57, 0.0),
    "frame": (0.0, 0.0, 0.0, 0.6),  # colour comes from the look
    "cloth": (0.0, 0.0, 0.0, 0.02),  # colour comes from the look
}
_PART_SWATCH = {
    "teeth_upper": "teeth",
    "teeth_lower": "teeth",
    "tongue": "tongue",
    "lashes": "lash",
    "eye_left": "eye",
    "eye_right": "eye",
}
_POSITION_MAPS: dict[str, np.ndarray] = {}  # by sha256 of the bank


def swatch(name: str) -> tuple[float, float]:
    """Return the atlas coordinates x, y of a plain colour."""
    return TEXTURE_WIDTH + (list(PLAIN).index(name) + 0.5) * SWATCH, SWATCH_TOP + SWATCH / 2


def bust_xy(points: np.ndarray) -> np.ndarray:
    """Return (N,2) atlas coordinates of (N,3) template points in frontal projection."""
    texel = BUST / BUST_SIDE_M
    x = (points[:, 0] - BUST_LEFT) * texel
    y = (BUST_TOP - points[:, 2]) * texel
    return np.stack([TEXTURE_WIDTH + np.clip(x, 0, BUST - 1), np.clip(y, 0, BUST - 1)], 1).astype(np.float32)


def atlas_coordinates(bank: Bank) -> tuple[np.ndarray, np.ndarray]:
    """Return (C,2) atlas coordinates and the (F,3) int32 indices into them for every triangle of the bank."""
    skin = bank.part == PARTS.index("skin")
    uv = bank.uv[bank.corners]
    z = bank.template[bank.faces][..., 2].mean(1)
    # In the texture the arms overlap the head's window, and ears and neck lie outside it: all three go to the bust.
    in_window = skin & (uv[..., 0].min(1) >= TEXTURE_LEFT) & (z > -0.17)
    window = np.stack([(uv[..., 0] - TEXTURE_LEFT) * TEXTURE_HEIGHT, (1 - uv[..., 1]) * TEXTURE_HEIGHT], -1)
    bust = bust_xy(bank.template)[bank.faces]
    atlas_xy = np.where(in_window[:, None, None], window, bust)
    for part, name in _PART_SWATCH.items():
        atlas_xy[bank.part == PARTS.index(part)] = swatch(name)
    corners = np.arange(atlas_xy.shape[0] * 3, dtype=np.int32).reshape(-1, 3)
    return atlas_xy.reshape(-1, 2).astype(np.float32), corners


def position_map(bank: Bank) -> np.ndarray:
    """Return (TEXTURE_HEIGHT, TEXTURE_WIDTH, 3) float32: the template point at every texel, 9 where there is none."""
    if bank.sha256 not in _POSITION_MAPS:
        atlas_xy, corners = atlas_coordinates(bank)
        inside = np.flatnonzero((bank.part == PARTS.index("skin")) & (atlas_xy[corners][..., 0].max(1) < TEXTURE_WIDTH))
        screen = np.concatenate([atlas_xy, np.zeros((len(atlas_xy), 1), np.float32)], 1)
        triangle, weights, _ = visibility(
            screen, corners[inside], np.ones(len(inside), bool), (TEXTURE_WIDTH, TEXTURE_HEIGHT)
        )
        points = interpolate(bank.template, bank.faces[inside], np.maximum(triangle, 0).ravel(), weights.reshape(-1, 2))
        points[triangle.ravel() < 0] = 9
        _POSITION_MAPS[bank.sha256] = points.reshape(TEXTURE_HEIGHT, TEXTURE_WIDTH, 3)
    return _POSITION_MAPS[bank.sha256]
