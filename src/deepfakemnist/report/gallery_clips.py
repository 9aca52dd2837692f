"""Clips and stills of the gallery: cut around the action, marked, encoded small, and within a limit of bytes."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from deepfakemnist.errors import Failed, Rejected
from deepfakemnist.media.decode import read_frames

#: Longest side of a clip, pixels; smaller clips keep their size.
SIDE = 256
#: Of a longer clip, no more is looked at.
_MAX_FRAMES = 1500
#: Where in the cut the action is at its greatest; it rises for longer than it falls.
_PEAK = 0.6
_STILL_QUALITY = 55
#: Clips encoded to find out how small all of them have to be.
_SAMPLE = 6
_MARK = "SYNTHETIC"
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Level:
    """How long and how good the clips are.

    Args:
        seconds: length at most.
        crf: of x264; 18 hides nothing that can be seen, 35 is soft.
    """

    seconds: float
    crf: int


#: From the best to the smallest; each takes about 0.6 of the one before.
LEVELS = (Level(3.0, 23), Level(2.4, 26), Level(2.0, 29), Level(1.6, 32), Level(1.2, 35))
#: For a fake at several qualities: nearly lossless, so that what is seen is theirs.
COMPARISON = Level(1.6, 16)


@dataclass(frozen=True)
class Take:
    """A clip to cut, to show as a still, and to mark.

    Args:
        path: video file.
        frames: frames of it that may be used; those of the clips beside it may be fewer than its own.
        peak: frame that the cut is laid around.
        still: frame that is shown until the clip plays.
        is_synthetic: a fake, marked in the picture.
    """

    path: str
    frames: int
    peak: int
    still: int = field(compare=False)  # clips that differ in it alone are carried once
    is_synthetic: bool


def data_url(kind: str, data: bytes) -> str:
    """Return bytes as a URL that needs no host."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def peak_of(path: str, frames: int) -> int:
    """Return the frame that differs most from the first one, among the first ``frames``. Raises: as read_frames."""
    first, peak, most = None, 0, -1.0
    for number, frame in enumerate(islice(read_frames(path), min(frames, _MAX_FRAMES))):
        small = np.asarray(Image.fromarray(frame).convert("L").resize((64, 64), Image.Resampling.BOX), np.float32)
        first = small if first is None else first
        # The fourth power: a mouth that opens counts for more than a background that drifts.
        difference = float(((small - first) ** 4).mean())
        if difference > most:
            peak, most = number, difference
    return peak


class Shelf:
    """Clips and stills of a page, each encoded once, the clips within a limit.

    Args:
        megabytes: maximum size of all clips.
        fps: frames per second of the clips that are cut.
    """

    def __init__(self, megabytes: float, fps: float) -> None:
        self._left = round(megabytes * 1e6)
        self._fps = fps
        self._encoded: dict[tuple[Take, Level], bytes] = {}
        self._stills: dict[tuple[str, int, bool], bytes] = {}
        self._kept: dict[tuple[Take, Level], str] = {}
        self._readable: dict[tuple[str, int], bool] = {}

    @property
    def clips(self) -> dict[str, bytes]:
        """The clips kept so far, name → H.264 in MP4."""
        return {name: self._encoded[key] for key, name in self._kept.items()}

    def has(self, take: Take) -> bool:
        """Return whether a clip is there and its frames can be decoded."""
        key = (take.path, take.frames)
        if key not in self._readable:
            self._readable[key] = Path(take.path).is_file() and _can_be_read(take.path, take.frames)
        return self._readable[key]

    def bytes_of(self, takes: Sequence[Take], level: Level) -> int:
        """Return what clips take."""
        return sum(len(self._encode(take, level)) for take in takes)

    def level_for(self, takes: Sequence[Take]) -> Level:
        """Return the best level at which all of these would fit, by the size of a few; the smallest where none does."""
        different = list(dict.fromkeys(takes))
        step = max(1, len(different) // _SAMPLE)
        sample = different[::step][:_SAMPLE]
        for level in LEVELS:
            if self.bytes_of(sample, level) * len(different) <= self._left * len(sample):
                return level
        return LEVELS[-1]

    def keep(self, takes: Sequence[Take], level: Level) -> list[str] | None:
        """Keep clips, all or none of them, and return their names; None where they do not fit any more."""
        new = {(take, level): self._encode(take, level) for take in takes if (take, level) not in self._kept}
        size = sum(map(len, new.values()))
        if size > self._left:
            return None
        self._left -= size
        for key in new:
            self._kept[key] = f"clip-{len(self._kept)}"
        return [self._kept[take, level] for take in takes]

    def still(self, take: Take) -> str:
        """Return the still of a clip as a data URL. Raises: as read_frames."""
        key = (take.path, take.still, take.is_synthetic)
        if key not in self._stills:
            frame = next(islice(read_frames(take.path), take.still, None), None)
            picture = _shown(next(read_frames(take.path)) if frame is None else frame, take.is_synthetic)
            buffer = io.BytesIO()
            Image.fromarray(picture).save(buffer, format="WEBP", quality=_STILL_QUALITY, method=6)
            self._stills[key] = buffer.getvalue()
        return data_url("image/webp", self._stills[key])

    def _encode(self, take: Take, level: Level) -> bytes:
        if (take, level) not in self._encoded:
            length = min(take.frames, max(1, round(level.seconds * self._fps)))
            start = min(max(0, take.peak - round(_PEAK * length)), take.frames - length)
            frames = (_shown(frame, take.is_synthetic) for frame in _cut(take.path, start, length))
            self._encoded[take, level] = encode_h264(frames, self._fps, level.crf)
        return self._encoded[take, level]


def encode_h264(frames: Iterator[Pixels], fps: float, crf: int) -> bytes:
    """Return frames, (H,W,3) uint8 RGB with even sides, as H.264 (yuv420p, which all browsers play) in MP4."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = None
        for number, frame in enumerate(frames):
            if stream is None:
                stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
                stream.height, stream.width = frame.shape[:2]
                stream.pix_fmt = "yuv420p"
                # Groups of pictures are short, since clips that play side by side are set to the same moment. On
                # another processor the bytes may differ: the dataset's way to the same ones takes four times as long.
                stream.options = {"crf": str(crf), "preset": "slow", "g": "25"}
                stream.codec_context.thread_count = 1
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture.pts = number
            container.mux(stream.encode(picture))
        if stream is not None:
            container.mux(stream.encode(None))
    return buffer.getvalue()


def _can_be_read(path: str, frames: int) -> bool:
    try:
        return sum(1 for _ in _cut(path, 0, min(frames, _MAX_FRAMES))) > 0
    except (Failed, Rejected):
        return False


def _cut(path: str, start: int, length: int) -> Iterator[Pixels]:
    return islice(read_frames(path), start, start + length)


def _shown(frame: Pixels, is_synthetic: bool) -> Pixels:
    """Return a frame as the page shows it: no larger than needed, with even sides, a fake with its mark."""
    height, width = frame.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    size = (max(2, 2 * round(width * scale / 2)), max(2, 2 * round(height * scale / 2)))
    picture = Image.fromarray(frame)
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    return np.asarray(_marked(picture) if is_synthetic else picture)


def _marked(picture: Image.Image) -> Image.Image:
    """Return a picture with SYNTHETIC in a dark band at its top."""
    marked = picture.convert("RGB")
    draw = ImageDraw.Draw(marked, "RGBA")
    font = ImageFont.load_default(size=max(6, picture.width // 11))
    left, top, right, bottom = draw.textbbox((0, 0), _MARK, font)
    band = round((bottom - top) * 1.6)
    draw.rectangle((0, 0, picture.width, band), fill=(0, 0, 0, 170))
    where = ((picture.width - right - left) / 2, (band - bottom - top) / 2)
    draw.text(where, _MARK, (255, 255, 255), font)
    return marked
