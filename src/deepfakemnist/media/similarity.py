"""Full-reference video quality metrics: PSNR, SSIM and VMAF of an encoded clip."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from deepfakemnist.machine_errors import check_child
from deepfakemnist.media.ffmpeg import FFmpeg, absolute

#: SSIM's constants for 8-bit pictures: (0.01 · 255)² and (0.03 · 255)² (Wang et al. 2004).
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
#: 8x8 windows every 4 pixels, as in ffmpeg and x264; Gaussian windows cost ten times as much.
_WINDOW, _STEP = 8, 4
#: Frames per clip on which SSIM is measured.
SSIM_FRAMES = 16


class Similarity:
    """PSNR and SSIM of an encoded clip, accumulated frame by frame.

    Args:
        reference: samples of every frame as given to the encoder, uint8, (T,N); see :meth:`.picture.Picture.samples`.
        size: (width, height).
        rgb: the samples are RGB pixels rather than YUV planes.
    """

    def __init__(self, reference: Sequence[np.ndarray], size: tuple[int, int], rgb: bool) -> None:
        self._reference, self._size, self._rgb = reference, size, rgb
        count = min(len(reference), SSIM_FRAMES)
        self._ssim_frames = {(2 * number + 1) * len(reference) // (2 * count) for number in range(count)}
        self._squares = 0.0
        self._ssim: list[float] = []

    def add(self, index: int, coded: np.ndarray) -> None:
        """Compare the decoded samples of frame ``index``, (N,) uint8, with its reference."""
        # As one row: OpenCV treats a 1-D array as a column, which is 30 times slower (measured).
        squares = cv2.norm(self._reference[index][None], coded[None], cv2.NORM_L2SQR)
        self._squares += squares
        if index in self._ssim_frames:
            self._ssim.append(_ssim_of_frame(*map(self._luma, (self._reference[index], coded))) if squares else 1.0)

    @property
    def psnr_db(self) -> float | None:
        """PSNR in dB over all samples so far; None when they are equal."""
        error = self._squares / sum(samples.size for samples in self._reference)
        return 10 * float(np.log10(255**2 / error)) if error else None

    @property
    def ssim(self) -> float:
        """Mean SSIM of luma, up to 1, over up to SSIM_FRAMES evenly spaced frames."""
        return float(np.mean(self._ssim))

    def _luma(self, samples: np.ndarray) -> np.ndarray:
        width, height = self._size
        if self._rgb:
            return cv2.cvtColor(samples.reshape(height, width, 3), cv2.COLOR_RGB2GRAY)
        return samples[: width * height].reshape(height, width)


def vmaf(reference: Path, coded: Path, program: FFmpeg) -> float | None:
    """Return the mean VMAF of a file against a reference file, 0..100; None when ffmpeg lacks libvmaf or fails.

    Raises: MachineError when ffmpeg was killed or the disk is full.
    """
    if "libvmaf" not in program.filters:
        return None
    with tempfile.TemporaryDirectory() as folder:
        # The log path is part of the filter string, where an absolute path might need escaping.
        graph = "[0:v][1:v]libvmaf=log_fmt=json:log_path=vmaf.json:n_threads=1"
        command = [program.path, "-v", "error", "-nostdin", "-i", absolute(coded), "-i", absolute(reference)]
        done = subprocess.run([*command, "-lavfi", graph, "-f", "null", "-"], cwd=folder, capture_output=True)
        log = Path(folder) / "vmaf.json"
        check_child("ffmpeg", done.returncode, done.stderr.decode(errors="replace"), folder)
        if done.returncode or not log.is_file():
            return None
        return float(json.loads(log.read_text())["pooled_metrics"]["vmaf"]["mean"])


def _ssim_of_frame(before: np.ndarray, after: np.ndarray) -> float:
    x, y = before.astype(np.float32), after.astype(np.float32)
    mean_x, mean_y, xx, yy, xy = (_windows(value) for value in (x, y, x * x, y * y, x * y))
    unbiased = _WINDOW**2 / (_WINDOW**2 - 1)
    variance = (xx - mean_x**2 + yy - mean_y**2) * unbiased
    covariance = (xy - mean_x * mean_y) * unbiased
    numerator = (2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)
    return float(np.mean(numerator / ((mean_x**2 + mean_y**2 + _C1) * (variance + _C2))))


def _windows(values: np.ndarray) -> np.ndarray:
    """Return the means of all 8x8 windows at stride 4, each the mean of four 4x4 blocks."""
    rows, columns = (size // _STEP for size in values.shape)
    whole = values[: rows * _STEP, : columns * _STEP]
    quarter = cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA)
    return (quarter[:-1, :-1] + quarter[1:, :-1] + quarter[:-1, 1:] + quarter[1:, 1:]) / 4
