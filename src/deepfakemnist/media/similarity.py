"""How near an encoded clip is to what it was made from: PSNR, SSIM, VMAF."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

import cv2
import numpy as np

from deepfakemnist.media.ffmpeg import FFmpeg, absolute

#: SSIM's constants for 8-bit pictures: (0.01 · 255)² and (0.03 · 255)² (Wang et al. 2004).
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
#: Windows of 8x8 every 4 pixels, as ffmpeg and x264 take them; Gaussian windows cost ten times as much.
_WINDOW, _STEP = 8, 4
#: Frames of a clip that SSIM is measured on: on all of them it would cost as much as encoding.
SSIM_FRAMES = 16


def psnr(clip: np.ndarray, coded: np.ndarray) -> float | None:
    """Return PSNR in dB over all values of two clips, (T,H,W,3) uint8 RGB; None where they are equal."""
    squares = sum(cv2.norm(before, after, cv2.NORM_L2SQR) for before, after in zip(clip, coded, strict=True))
    error = squares / clip.size
    return 10 * float(np.log10(255**2 / error)) if error else None


def ssim(clip: np.ndarray, coded: np.ndarray) -> float:
    """Return the mean SSIM of luma, up to 1, over up to SSIM_FRAMES evenly spaced frames of two clips."""
    count = min(len(clip), SSIM_FRAMES)
    looked_at = [(2 * number + 1) * len(clip) // (2 * count) for number in range(count)]
    return float(np.mean([_ssim_of_frame(clip[index], coded[index]) for index in looked_at]))


def vmaf(reference: Path, coded: Path, program: FFmpeg) -> float | None:
    """Return the mean VMAF of a file against a reference file, 0..100; None where ffmpeg lacks libvmaf or fails."""
    if "libvmaf" not in program.filters:
        return None
    with tempfile.TemporaryDirectory() as folder:
        # The log's name stands inside the filter's text, where an odd path would need escapes: relative it needs none.
        graph = "[0:v][1:v]libvmaf=log_fmt=json:log_path=vmaf.json:n_threads=1"
        command = [program.path, "-v", "error", "-nostdin", "-i", absolute(coded), "-i", absolute(reference)]
        done = subprocess.run([*command, "-lavfi", graph, "-f", "null", "-"], cwd=folder, capture_output=True)
        log = Path(folder) / "vmaf.json"
        if done.returncode or not log.is_file():
            return None
        return float(json.loads(log.read_text())["pooled_metrics"]["vmaf"]["mean"])


def _ssim_of_frame(before: np.ndarray, after: np.ndarray) -> float:
    x, y = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32) for frame in (before, after))
    mean_x, mean_y, xx, yy, xy = (_windows(value) for value in (x, y, x * x, y * y, x * y))
    unbiased = _WINDOW**2 / (_WINDOW**2 - 1)
    variance = (xx - mean_x**2 + yy - mean_y**2) * unbiased
    covariance = (xy - mean_x * mean_y) * unbiased
    likeness = (2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)
    return float(np.mean(likeness / ((mean_x**2 + mean_y**2 + _C1) * (variance + _C2))))


def _windows(values: np.ndarray) -> np.ndarray:
    """Return the means of all 8x8 windows that begin at multiples of 4."""
    means = cv2.blur(values, (_WINDOW, _WINDOW), anchor=(0, 0))
    return means[: values.shape[0] - _WINDOW + 1 : _STEP, : values.shape[1] - _WINDOW + 1 : _STEP]
