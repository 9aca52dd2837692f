"""Per-frame checks of a decoded video: damage, interlacing, HDR, transparency, changes of shape, square pixels."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING

import av

from deepfakemnist.errors import Failed, Rejected
from deepfakemnist.media.display import Orientation, frame_orientation
from deepfakemnist.media.picture import square_pixels

if TYPE_CHECKING:
    from deepfakemnist.media.container import Video

#: Largest ratio of the sides of a pixel: the most extreme in use is 32:11, of widescreen PAL at half width.
_MAX_SAMPLE_ASPECT = 4
#: HDR transfer characteristics: SMPTE ST 2084 (PQ) and ARIB STD-B67 (HLG).
_HDR_TRANSFERS = {16: "PQ", 18: "HLG"}


@dataclass(frozen=True)
class StoredFormat:
    """How frames are stored: size in pixels, pixel format, and width of a pixel ÷ its height."""

    width: int
    height: int
    pix_fmt: str
    sample_aspect: Fraction


class FrameCheck:
    """Checks each frame of a video and gives it square pixels.

    Raises: Failed with reason corrupt; Rejected with reason interlaced, hdr, transparent, rotation, size_changes or
        sample_aspect.
    """

    def __init__(self, video: Video) -> None:
        self._video = video
        self._shape: tuple[object, ...] = ()
        self._aspect = Fraction(1)

    def __call__(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Return the frame, with square pixels."""
        if frame.is_corrupt:
            raise Failed("corrupt", f"{self._where(frame)} is damaged")
        if frame.interlaced_frame:
            raise Rejected(
                "interlaced",
                f"{self._where(frame)} is interlaced; deinterlace the video first, e.g. by ffmpeg's bwdif",
            )
        if frame.color_trc in _HDR_TRANSFERS:
            transfer = _HDR_TRANSFERS[frame.color_trc]
            raise Rejected("hdr", f"{self._where(frame)} is {transfer}; tone-map the video to SDR first")
        if _has_alpha(frame.format.name) and _opacity(frame) < 255:
            raise Rejected(
                "transparent", f"{self._where(frame)} has non-opaque pixels; composite it onto a background first"
            )
        codec_aspect = self._video.stream.codec_context.sample_aspect_ratio
        shape = (frame.width, frame.height, frame_orientation(frame), codec_aspect or 1)
        if shape != self._shape:
            self._check_shape(self._where(frame), shape)
            self._shape = shape
            # The container overrules the codec, whose ratio may be known only once a frame is decoded.
            self._aspect = _sample_aspect(self._video, codec_aspect)
            self._video.stored = StoredFormat(frame.width, frame.height, frame.format.name, self._aspect)
        return frame if self._aspect == 1 else square_pixels(frame, self._aspect)

    def _where(self, frame: av.VideoFrame) -> str:
        return f"{self._video.path}: the frame at {frame.time} s"

    def _check_shape(self, where: str, shape: tuple[object, ...]) -> None:
        names = ("width", "height", "display matrix", "sample aspect ratio of the codec")
        for name, before, now in zip(names, self._shape, shape, strict=False):  # nothing to compare for the first frame
            if before != now:
                raise Rejected("size_changes", f"{where}: the {name} changes from {_words(before)} to {_words(now)}")


@cache
def _has_alpha(pix_fmt: str) -> bool:
    return any(component.is_alpha for component in av.VideoFormat(pix_fmt).components)


def _words(value: object) -> str:
    if isinstance(value, Orientation):
        return f"{value.rotation} degrees{', mirrored' if value.mirrored else ''}"
    return str(value)


def _sample_aspect(video: Video, codec_aspect: Fraction | None) -> Fraction:
    """Return width ÷ height of a video's pixels. Raises: Rejected with reason sample_aspect."""
    aspect = Fraction(video.stream.sample_aspect_ratio or codec_aspect or 1)
    if not Fraction(1, _MAX_SAMPLE_ASPECT) <= aspect <= _MAX_SAMPLE_ASPECT:
        raise Rejected(
            "sample_aspect",
            f"{video.path}: sample aspect ratio {aspect.numerator}:{aspect.denominator}; at most "
            f"{_MAX_SAMPLE_ASPECT}:1 is supported. Set it right: ffmpeg -i IN -c copy -aspect 16:9 OUT",
        )
    return aspect


def _opacity(frame: av.VideoFrame) -> int:
    """Return the smallest alpha of a frame, 0..255."""
    return int(frame.reformat(format="rgba").to_ndarray()[..., 3].min())
