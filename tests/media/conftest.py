"""Fixtures for the media tests: an ffmpeg runner and a clip with detail and motion."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deepfakemnist.media.ffmpeg import find_ffmpeg


@pytest.fixture(scope="session")
def run_ffmpeg() -> Callable[..., Path]:
    """Run ffmpeg with arguments and optional frames on standard input; the last argument is the output file."""

    def run(*words: str | Path, frames: list[np.ndarray] | None = None, fps: float = 25) -> Path:
        head = [find_ffmpeg().path, "-hide_banner", "-loglevel", "error", "-y"]
        if frames is not None:
            height, width = frames[0].shape[:2]
            head += [
                "-f",
                "rawvideo",
                "-pix_fmt",
                "rgb24",
                "-s",
                f"{width}x{height}",
                "-framerate",
                str(fps),
                "-i",
                "-",
            ]
        data = b"".join(frame.tobytes() for frame in frames or [])
        subprocess.run([*head, *map(str, words)], input=data, check=True, timeout=60)
        return Path(words[-1])

    return run


@pytest.fixture(scope="session")
def moving() -> np.ndarray:
    """A clip with detail and motion, (12,64,64,3)."""
    y, x = np.mgrid[0:64, 0:64]
    noise = np.random.default_rng(7).integers(0, 40, (64, 64, 3))
    clip = [
        np.stack(
            [128 + 80 * np.sin((x + 3 * t) / 7), 128 + 80 * np.cos((y - 2 * t) / 9), (x + y + 5 * t) % 200], axis=2
        )
        + np.roll(noise, t, axis=1)
        for t in range(12)
    ]
    return np.clip(clip, 0, 255).astype(np.uint8)
