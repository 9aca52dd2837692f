"""Lossless working clips, written in process and verified by decoding.

Stages pass these clips to each other, so a pixel that differs after read-back is an error.
"""

from __future__ import annotations

import platform
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.codec.context import Flags
from av.container import OutputContainer
from av.video.frame import PictureType
from av.video.stream import VideoStream

from deepfakemnist.errors import Failed
from deepfakemnist.machine_errors import of_errno
from deepfakemnist.media.container import every_frame, open_video
from deepfakemnist.media.picture import Picture
from deepfakemnist.media.pixels import PixelHash
from deepfakemnist.tables.checksums import file_facts
from deepfakemnist.tables.files import atomic_path
from deepfakemnist.tables.schemas import Row

#: Options of every encode by the ffmpeg program. One thread, because x264's output depends on the thread count. No
#: audio, and no writer name, time or version.
COMMON_OUTPUT: dict[str, Any] = {
    "an": None,
    "threads": 1,
    "map_metadata": -1,
    "fflags": "+bitexact",
    "flags:v": "+bitexact",
    "movflags": "+faststart",
    "format": "mp4",
}
#: The same for working clips, which are encoded in process.
_CONTAINER = {"fflags": "+bitexact", "movflags": "+faststart"}


def x264_instruction_set(machine: str, portable: bool = True) -> str:
    """Return the value of x264's ``asm`` option for a machine, named as by :func:`platform.machine`.

    x264 knows only the instruction sets of its own architecture. For any other name it warns, which our log level
    hides, and falls back to plain C; numbers are accepted everywhere, and 0 is plain C.

    Args:
        machine: name of the architecture.
        portable: same output on every processor. Otherwise the fastest set of which every processor of the architecture
            has all instructions, for the same output on every processor of one vendor: SSE2 on x86-64.
    """
    if machine.lower() in {"x86_64", "amd64"}:
        return "mmx2" if portable else "sse2"
    return "0" if portable else "auto"


#: For every lossy x264 encode: without it the output depends on the CPU. On x86, SSSE3 and later sets make some
#: decisions differently from plain C; macroblock-tree rate control, enabled by a crf, is approximate from SSE2 on
#: (vendors round reciprocals differently); and AVX-512 code reads uninitialised memory where a width is not a multiple
#: of 128 (core 165). The sets before SSE2 match plain C in a third of its time; SSE2 takes half of theirs, and x264
#: cannot enable it without its approximate rate control.
#: Measured on 128 encodes of up to 6 s with a crf: SSE2 differed from plain C in 3, AVX2 in 125, MMX2 in none; with
#: qp 20 on 12 short ones: AVX2 in all, MMX2 in none. On an emulated aarch64, plain C gave x86's files byte by byte;
#: NEON did too in all 9 lossy encodes, too few to rely on.
DETERMINISTIC_X264: dict[str, Any] = {"x264-params": f"asm={x264_instruction_set(platform.machine())}"}
#: Of one vendor's processors only, for ``compress.portable: false``.
FASTER_X264: dict[str, Any] = {"x264-params": f"asm={x264_instruction_set(platform.machine(), portable=False)}"}
#: Of lossless encodes, which any instruction set decodes to the same pixels. CAVLC instead of CABAC: 17 to 18 % larger,
#: encoded in 0.6 and decoded in 0.4 of the time (4:2:0, veryfast, measured on a rendered and a real clip).
LOSSLESS_X264: dict[str, Any] = {"x264-params": "cabac=0"}


@dataclass(frozen=True)
class WorkingClip:
    """A clip whose file was verified to decode to the frames given."""

    path: Path
    frames: int
    pixels_sha256: str
    bytes: int
    """Size of the file."""
    sha256: str
    """sha256 of the file."""

    def columns(self) -> Row:
        """Return the columns that describe the file in a table row."""
        return {**asdict(self), "path": str(self.path)}


def write_working_clip(
    path: Path | str, frames: Iterable[np.ndarray], fps: float, keyframes: Collection[int] = ()
) -> WorkingClip:
    """Write frames as a lossless RGB MP4 (libx264rgb, qp 0), atomically.

    The encoder runs in process, without the ffmpeg program, and releases the GIL.

    Args:
        path: file to write, ending in .mp4.
        frames: (H,W,3) uint8 RGB, all of one size; consumed one at a time.
        fps: constant frame rate.
        keyframes: frames that :func:`.decode.read_frame` will read alone; 16 of them add 2 to 5 % to the file.

    Raises:
        Failed: no_frames, encode_failed, or encode_differs when the file does not decode to the frames given.
        ValueError: frames of different sizes.
        MachineError: the file cannot be written; carries the system's errno, e.g. ENOSPC.
    """
    path = Path(path)
    rest = iter(frames)
    first = next(rest, None)
    if first is None:
        raise Failed("no_frames", f"{path}: no frames to write")
    written, decoded_hash = PixelHash(), PixelHash()
    with atomic_path(path) as part:
        try:
            with av.open(str(part.absolute()), "w", format="mp4", options=_CONTAINER) as container:
                stream = _lossless_stream(container, first, fps)
                for number, frame in enumerate(chain([first], rest)):
                    if frame.shape != first.shape:
                        raise ValueError(f"{path}: all frames must have one size, not {first.shape} and {frame.shape}")
                    written.update(frame)
                    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
                    picture.pts, picture.duration = number, 1
                    if number in keyframes:
                        picture.pict_type = PictureType.I
                    container.mux(stream.encode(picture))
                container.mux(stream.encode(None))
        except av.FFmpegError as error:
            if isinstance(error, (OSError, MemoryError)):
                raise of_errno(error.errno, path) from error
            raise Failed("encode_failed", f"{path}: {error}") from error
        with open_video(part) as video:
            for decoded in every_frame(video):
                decoded_hash.update(Picture(decoded).rgb())
        if decoded_hash.hexdigest() != written.hexdigest():
            raise Failed("encode_differs", f"{path}: decoded pixels differ from the encoded ones")
        facts = file_facts(part)  # still in the page cache; the muxer rewrites the file's start when it ends
    return WorkingClip(path, written.frames, written.hexdigest(), facts.bytes, facts.sha256)


def _lossless_stream(container: OutputContainer, frame: np.ndarray, fps: float) -> VideoStream:
    # limit_denominator recovers 30000/1001 from 29.97002997, as the decoder does
    stream = container.add_stream("libx264rgb", rate=Fraction(fps).limit_denominator(1001))
    stream.height, stream.width = frame.shape[:2]
    stream.pix_fmt = "rgb24"
    # ultrafast: every stage reads working clips again, and they are short-lived. Per 10 s of 256x256 it takes
    # 11.2 MB and 0.28 + 0.37 CPU s to write and read, veryfast 9.2 MB and 0.95 + 0.84 (measured).
    stream.options = {"qp": "0", "preset": "ultrafast"}
    stream.codec_context.thread_count = 1
    stream.codec_context.flags |= Flags.bitexact
    return stream
