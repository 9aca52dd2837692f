"""Working clips: what the stages hand to each other, without loss."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.codec.context import Flags
from av.container import OutputContainer
from av.video.stream import VideoStream

from deepfakemnist.errors import Failed
from deepfakemnist.media.container import every_frame, open_video
from deepfakemnist.media.picture import Picture
from deepfakemnist.media.pixels import PixelHash
from deepfakemnist.tables.files import atomic_path

#: What every encode by the ffmpeg program has in common. One thread: x264's pictures depend on their number. No sound,
#: and nothing of the writer's name, time or version.
COMMON_OUTPUT: dict[str, Any] = {
    "an": None,
    "threads": 1,
    "map_metadata": -1,
    "fflags": "+bitexact",
    "flags:v": "+bitexact",
    "movflags": "+faststart",
    "format": "mp4",
}
#: The same for working clips, which are written in this process.
_CONTAINER = {"fflags": "+bitexact", "movflags": "+faststart"}


def x264_instruction_set(machine: str) -> str:
    """Return what x264's ``asm`` is set to on a machine, named as by :func:`platform.machine`.

    x264 knows the names of its own processor's sets only. Given another it warns, which our log level hides, and takes
    plain C; a number is taken everywhere, and 0 is plain C.
    """
    return "mmx2" if machine.lower() in {"x86_64", "amd64"} else "0"


#: For x264 wherever it loses anything: without it the pictures depend on the processor. On x86, from SSSE3 on it
#: decides here and there otherwise than plain C; the macroblock tree that a crf switches on is approximate from SSE2 on
#: (reciprocals that vendors round in their own way); and its AVX-512 code reads what happens to lie in memory where a
#: width is not a multiple of 128 (core 165). The sets before SSE2 give what plain C gives in a third of its time.
#: Measured on 128 encodes of up to 6 s with a crf: SSE2 differed from plain C in 3, AVX2 in 125, MMX2 in none; with
#: qp 20 on 12 short ones: AVX2 in all, MMX2 in none. On an emulated aarch64 plain C gave x86's files byte by byte; NEON
#: did too in all 9 lossy encodes, too few to build on.
SAME_EVERYWHERE: dict[str, Any] = {"x264-params": f"asm={x264_instruction_set(platform.machine())}"}


@dataclass(frozen=True)
class WorkingClip:
    """A clip that was written, read back and found equal."""

    path: Path
    frames: int
    pixels_sha256: str


def write_working_clip(path: Path | str, frames: Iterable[np.ndarray], fps: float) -> WorkingClip:
    """Write frames as a lossless RGB MP4 (libx264rgb, qp 0), whole or not at all.

    The encoder runs in this process, without the ffmpeg program, and outside Python's lock.

    Args:
        path: file to write, ending in .mp4.
        frames: (H,W,3) uint8 RGB, all of one size; taken one at a time.
        fps: constant frame rate.

    Raises:
        Failed: no_frames, encode_failed, or encode_differs when the file does not decode to the frames given.
        ValueError: frames of different sizes.
        OSError: the file cannot be written, with the system's number, e.g. that of a full disk.
    """
    path = Path(path)
    stream = iter(frames)
    first = next(stream, None)
    if first is None:
        raise Failed("no_frames", f"{path}: nothing to write")
    given, found = PixelHash(), PixelHash()
    with atomic_path(path) as part:
        try:
            with av.open(str(part.absolute()), "w", format="mp4", options=_CONTAINER) as container:
                track = _lossless_track(container, first, fps)
                for number, frame in enumerate(chain([first], stream)):
                    if frame.shape != first.shape:
                        raise ValueError(f"{path}: frames of one size are wanted, not {first.shape} and {frame.shape}")
                    given.update(frame)
                    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
                    picture.pts, picture.duration = number, 1
                    container.mux(track.encode(picture))
                container.mux(track.encode(None))
        except av.FFmpegError as error:
            if isinstance(error, (OSError, MemoryError)):  # the machine's trouble, not that of these frames
                raise
            raise Failed("encode_failed", f"{path}: {error}") from error
        with open_video(part) as video:
            for decoded in every_frame(video):
                found.update(Picture(decoded).rgb())
        if found.hexdigest() != given.hexdigest():
            raise Failed("encode_differs", f"{path}: decodes to other pixels than were encoded")
    return WorkingClip(path, given.frames, given.hexdigest())


def _lossless_track(container: OutputContainer, frame: np.ndarray, fps: float) -> VideoStream:
    # 30000/1001 is behind 29.97002997, as for whoever reads the clip
    track = container.add_stream("libx264rgb", rate=Fraction(fps).limit_denominator(1001))
    track.height, track.width = frame.shape[:2]
    track.pix_fmt = "rgb24"
    # ultrafast: every stage reads working clips again, and they are not kept for long. Per 10 s of 256x256 it
    # takes 11.2 MB and 0.28 + 0.37 CPU s to write and read, veryfast 9.2 MB and 0.95 + 0.84 (measured).
    track.options = {"qp": "0", "preset": "ultrafast"}
    track.codec_context.thread_count = 1
    track.codec_context.flags |= Flags.bitexact
    return track
