"""Scalar fields on the head (scalp mask, noise, smoothstep) for painting textures and placing hair."""

from __future__ import annotations

import cv2
import numpy as np


def scalp(points: np.ndarray, style: str = "crop") -> np.ndarray:
    """Return the scalp mask of template points, (...,3) metres: 0 bare skin .. 1 hair grows.

    The hairline is a height as a function of azimuth: forehead, temple, sideburn, above the ear, nape.
    """
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    azimuth = np.arctan2(np.abs(x), 0.075 - y)  # 0 at the front, pi at the back
    top = 0.062 + 0.022 * (style == "receding")
    line = np.interp(
        azimuth,
        [0.0, 0.30, 0.50, 0.68, 0.82, 0.95, 1.05, 1.20, 1.75, 1.95, 2.30, np.pi],
        [top, top, top - 0.004, 0.044, 0.022, -0.004, 0.010, 0.036, 0.034, -0.020, -0.055, -0.062],
    )
    if style == "receding":
        line = np.where(azimuth < 1.9, np.maximum(line, 0.030), line)
    ear = (np.abs(x) > 0.076) & (z < 0.034)
    return smooth(-0.003, 0.005, z - line) * ~ear


def smooth(low: float, high: float, value: np.ndarray) -> np.ndarray:
    """Return a smoothstep: 0 at ``low``, 1 at ``high``, cubic in between."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def noise(rng: np.random.Generator, shape: tuple[int, int], grain: int) -> np.ndarray:
    """Return smooth noise, (H,W) float32, zero mean and unit variance, with blobs of about ``grain`` texels."""
    coarse = rng.normal(0, 1, (max(2, shape[0] // grain), max(2, shape[1] // grain))).astype(np.float32)
    fine = cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC if grain > 1 else cv2.INTER_NEAREST)
    return fine / (fine.std() + 1e-6)
