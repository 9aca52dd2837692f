"""Smooth functions over points and pictures, from which looks are painted."""

from __future__ import annotations

import cv2
import numpy as np


def scalp(points: np.ndarray, style: str = "crop") -> np.ndarray:
    """Return how much each point of the template, (...,3) metres, is scalp: 0 skin .. 1 hair grows here.

    The hairline is a height over the azimuth about the head's axis: forehead, temple, sideburn, over the ear, nape.
    """
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    azimuth = np.arctan2(np.abs(x), 0.075 - y)  # 0 in front, pi behind
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
    """Return 0 at ``low`` and 1 at ``high``, a cubic between them."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def noise(rng: np.random.Generator, shape: tuple[int, int], grain: int) -> np.ndarray:
    """Return (H,W) float32 of smooth random values, mean 0, deviation 1, blobs of about ``grain`` texels."""
    coarse = rng.normal(0, 1, (max(2, shape[0] // grain), max(2, shape[1] // grain))).astype(np.float32)
    fine = cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC if grain > 1 else cv2.INTER_NEAREST)
    return fine / (fine.std() + 1e-6)
