"""Perturbations of test frames: their kinds and five levels of each, mild to strong."""

from __future__ import annotations

LEVELS: dict[str, tuple[float, ...]] = {
    "jpeg": (90, 70, 50, 30, 10),  # quality
    "resize": (0.75, 0.5, 0.375, 0.25, 0.125),  # scale of the downsampling, before upsampling to the original size
    "blur": (0.5, 1.0, 1.5, 2.0, 3.0),  # standard deviation, pixels
    "noise": (2, 5, 10, 20, 30),  # standard deviation, grey levels
    "h264": (23, 28, 33, 38, 43),  # crf, each frame encoded on its own
}


def perturbed_name(quality: str, kind: str, level: float) -> str:
    """Return what predictions on perturbed frames are said to be tested on: ``raw+jpeg50``, ``raw+blur0.5``."""
    return f"{quality}+{kind}{level:g}"
