"""Upload encoding for liveness vendors: H.264 in MP4 and JPEG, within a vendor's limits of size and length."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from deepfakemnist.config.liveness import UploadSettings
from deepfakemnist.errors import Failed, Rejected
from deepfakemnist.liveness.protocol import Clip
from deepfakemnist.media.encode import COMMON_OUTPUT, DETERMINISTIC_X264
from deepfakemnist.media.ffmpeg import absolute, find_ffmpeg, frames_input, run_graph

#: CRF increment per attempt until the upload fits, and the highest CRF.
_CRF_STEP, _MAX_CRF = 5, 43
_JPEG_QUALITY = 95


@dataclass(frozen=True)
class Upload:
    """Bytes to send."""

    data: bytes
    sha256: str


def encode_clip(clip: Clip, limits: UploadSettings) -> Upload:
    """Encode the beginning of a clip, scaled to the limits, as H.264 (yuv420p) in MP4 without sound.

    Raises:
        Rejected: the clip is shorter than ``min_seconds``.
        Failed: it exceeds ``max_bytes`` at the highest CRF, or cannot be encoded.
    """
    seconds = len(clip.frames) / clip.fps
    if seconds < limits.min_seconds:
        raise Rejected("too_short", f"{seconds:.2f} s; the vendor requires at least {limits.min_seconds:g} s")
    frames = clip.frames[: int(limits.max_seconds * clip.fps)]
    height, width = _scaled(frames.shape[1:3], limits)
    program = find_ffmpeg()
    with TemporaryDirectory(prefix="upload-") as folder:
        file = Path(folder, "clip.mp4")
        for crf in range(limits.crf, _MAX_CRF + _CRF_STEP, _CRF_STEP):
            graph = (
                frames_input(frames.shape[2], frames.shape[1], clip.fps)
                .filter("scale", width, height, flags="bicubic+accurate_rnd+bitexact")
                .output(
                    absolute(file),
                    vcodec="libx264",
                    crf=min(crf, _MAX_CRF),
                    pix_fmt="yuv420p",
                    **DETERMINISTIC_X264,
                    **COMMON_OUTPUT,
                )
            )
            run_graph(graph, program, iter(frames))
            if file.stat().st_size <= limits.max_bytes:
                return _upload(file.read_bytes())
        raise Failed(
            "upload_too_large", f"{file.stat().st_size} bytes at crf {_MAX_CRF}; max_bytes is {limits.max_bytes}"
        )


def encode_image(frame: np.ndarray, limits: UploadSettings) -> Upload:
    """Encode an (H, W, 3) uint8 RGB frame as JPEG, scaled to the limits."""
    height, width = _scaled(frame.shape[:2], limits)
    if (height, width) != frame.shape[:2]:
        frame = cv2.resize(frame, (width, height), interpolation=cv2.INTER_CUBIC)
    _, data = cv2.imencode(".jpg", frame[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return _upload(data.tobytes())


def evenly_spaced(total: int, wanted: int) -> list[int]:
    """Return up to ``wanted`` indices below ``total``, the centres of equal segments."""
    count = min(total, wanted)
    return [int((index + 0.5) * total / count) for index in range(count)]


def combined_sha256(hashes: Sequence[str]) -> str:
    """Return one sha256 over several, in order."""
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def _scaled(size: tuple[int, ...], limits: UploadSettings) -> tuple[int, int]:
    """Return (height, width) within the limits, even as H.264 with 4:2:0 requires."""
    factor = max(limits.min_side / min(size), 1.0)
    factor = min(factor, limits.max_side / max(size))
    height, width = (max(round(side * factor / 2) * 2, 2) for side in size)
    return height, width


def _upload(data: bytes) -> Upload:
    return Upload(data, hashlib.sha256(data).hexdigest())
