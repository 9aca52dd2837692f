"""A decoded frame of which only what is asked for becomes RGB.

Turning a 720p frame into RGB costs as much as decoding it; a face crop needs a tenth of it, a face detector a small
copy. Both are taken from the stored planes here, and a region has the same pixels as the region of the whole picture.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from threading import get_ident

import av
import cv2
import numpy as np
from av.filter import Graph
from av.filter.context import FilterContext
from av.video.format import VideoFormat
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from deepfakemnist.errors import Rejected

#: Bit-exact scaling gives the same pixels with and without SIMD, hence on every machine. Without full chroma pictures
#: come out 1.5 grey levels too dark.
_EXACT = Interpolation.ACCURATE_RND | Interpolation.BITEXACT | Interpolation.FULL_CHR_H_INT
_SMOOTH, _AVERAGED = Interpolation.BICUBIC | _EXACT, Interpolation.AREA | _EXACT
_UNSPECIFIED_MATRIX = 2  # AVCOL_SPC_UNSPECIFIED
#: Formats whose planes can be cut, with how many pixels share a colour, across and down.
_PLANAR = {
    **{f"yuv{j}420p": (2, 2) for j in ("", "j")},
    **{f"yuv{j}422p": (2, 1) for j in ("", "j")},
    **{f"yuv{j}444p": (1, 1) for j in ("", "j")},
}
#: What lossless working clips are stored in: one plane per colour.
_RGB_PLANES = "gbrp"
#: Colours are interpolated over a few pixels: that many around a region make its edge what it is in the whole picture.
_BORDER = 16
#: Parts that are kept begin and end at multiples of this, so that few graphs cut them; larger ones than this share of
#: the picture are not worth a copy.
_KEPT_STEP, _WORTH_CUTTING = 64, 0.7


class Picture:
    """One frame, upright.

    Args:
        frame: as decoded. It is kept, so its pixels stay in memory as long as the picture.

    Raises: Rejected with reason rotation when it is to be shown at an angle that is no multiple of 90 degrees.
    """

    _at = (0, 0)  # where the pixels that are there begin, left and top

    def __init__(self, frame: av.VideoFrame) -> None:
        self._frame = frame
        self._turns = frame_rotation(frame) // 90
        turned = self._turns % 2 == 1
        self.width, self.height = (frame.height, frame.width) if turned else (frame.width, frame.height)

    @property
    def nbytes(self) -> int:
        """Memory of the stored pixels."""
        return sum(plane.buffer_size for plane in self._frame.planes)

    def near(self, left: int, top: int, width: int, height: int) -> Picture:
        """Return a picture of the same size that keeps only pixels in and near a part, in memory of its own.

        It answers :meth:`region` and :meth:`scaled_region` where it :meth:`holds` them, as the whole picture would.
        Where too little would be saved, or parts cannot be cut as stored, it is the whole picture itself.
        """
        across, down = _PLANAR.get(self._frame.format.name, (0, 0))
        if not across or self._turns or self.width % across or self.height % down:
            return self
        first = (max(0, left) // _KEPT_STEP * _KEPT_STEP, max(0, top) // _KEPT_STEP * _KEPT_STEP)
        last = (
            min(self.width, -(-(left + width) // _KEPT_STEP) * _KEPT_STEP),
            min(self.height, -(-(top + height) // _KEPT_STEP) * _KEPT_STEP),
        )
        wide, high = last[0] - first[0], last[1] - first[1]
        if wide <= 0 or high <= 0 or wide * high > _WORTH_CUTTING * self.width * self.height:
            return self
        near = Picture(self._cut(*first, wide, high, copied=True))
        near._at, near.width, near.height = first, self.width, self.height
        return near

    def holds(self, left: int, top: int, width: int, height: int) -> bool:
        """Tell whether the pixels of a part, as far as it lies in the picture, are there."""
        (x, y), frame = self._at, self._frame
        return (self.width, self.height) in ((frame.width, frame.height), (frame.height, frame.width)) or (
            x <= max(0, left - _BORDER)
            and y <= max(0, top - _BORDER)
            and min(self.width, left + width + _BORDER) <= x + frame.width
            and min(self.height, top + height + _BORDER) <= y + frame.height
        )

    def rgb(self) -> np.ndarray:
        """Return all of it, (H,W,3) uint8 RGB."""
        return self._upright(_to_rgb(self._frame))

    def samples(self) -> np.ndarray:
        """Return what is stored, uint8 in one row: the planes Y, U, V one after the other; RGB pixels if not those."""
        if self._frame.format.name not in _PLANAR:
            return self.rgb().reshape(-1)
        return np.concatenate([_view(plane).reshape(-1) for plane in self._frame.planes])

    def region(self, left: int, top: int, width: int, height: int) -> np.ndarray:
        """Return a part, (height,width,3) uint8 RGB, equal to that of :meth:`rgb`; it must lie inside the picture."""
        if not (0 <= left < left + width <= self.width and 0 <= top < top + height <= self.height):
            raise ValueError(f"{width}x{height} at {left}, {top} is not inside {self.width}x{self.height}")
        across, down = _PLANAR.get(self._frame.format.name, (0, 0))
        # At odd sizes colours are spread over the whole width, and a part of it would get others.
        if not across or self._turns or self.width % across or self.height % down:
            return self.rgb()[top : top + height, left : left + width]
        first = (max(0, left - _BORDER) // across * across, max(0, top - _BORDER) // down * down)
        last = (
            min(self.width, -(-(left + width + _BORDER) // across) * across),
            min(self.height, -(-(top + height + _BORDER) // down) * down),
        )
        part = self._cut(*first, last[0] - first[0], last[1] - first[1])
        return _to_rgb(part)[top - first[1] :, left - first[0] :][:height, :width]

    def scaled_region(self, left: int, top: int, width: int, height: int, size: int) -> np.ndarray:
        """Return a part inside the picture stretched to (size,size,3) uint8 RGB, averaged where it shrinks.

        A part that begins and ends at even pixels is scaled as stored, before it is RGB, in a third of the time.
        """
        inside = left >= 0 and top >= 0 and left + width <= self.width and top + height <= self.height
        even = not any(value % 2 for value in (left, top, width, height))
        if inside and even and self._frame.format.name in _PLANAR and not self._turns:
            return _to_rgb(self._cut(left, top, width, height), (size, size), enlarged=min(width, height) < size)
        return resized(self.region(left, top, width, height), size, size)

    def shrunk(self, max_side: int) -> np.ndarray:
        """Return all of it with its longer side at most ``max_side``, averaged, (h,w,3) uint8 RGB."""
        factor = min(1.0, max_side / max(self.width, self.height))
        if factor == 1.0:
            return self.rgb()
        size = (max(1, round(self._frame.width * factor)), max(1, round(self._frame.height * factor)))
        return self._upright(_to_rgb(self._frame, size))

    def grey(self) -> np.ndarray:
        """Return the brightness as stored, (h,w) uint8, not turned upright; a view where the format allows one."""
        if self._frame.format.name in _PLANAR:
            return _view(self._frame.planes[0])
        return self._frame.reformat(format="gray", threads=1).to_ndarray()

    def _cut(self, left: int, top: int, width: int, height: int, copied: bool = False) -> av.VideoFrame:
        """Return a part with all tags of the frame; where colours lie between pixels is one that only ffmpeg keeps."""
        frame = self._frame
        kind = (frame.width, frame.height, frame.format.name)
        part = (left - self._at[0], top - self._at[1], width, height)
        _, source, sink = _cutter(get_ident(), kind, part, copied)
        source.push(frame)
        cut = sink.pull()
        assert isinstance(cut, av.VideoFrame)
        return cut

    def _upright(self, picture: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(np.rot90(picture, self._turns))


def frame_rotation(frame: av.VideoFrame) -> int:
    """Return the degrees, 0, 90, 180 or 270, by which a frame must be turned counter-clockwise to stand upright.

    Raises: Rejected with reason rotation for anything between.
    """
    if frame.rotation % 90:
        raise Rejected("rotation", f"display rotation is {frame.rotation} degrees; allowed are multiples of 90")
    return int(frame.rotation % 360)


def _to_rgb(frame: av.VideoFrame, size: tuple[int, int] | None = None, enlarged: bool = False) -> np.ndarray:
    """Return a frame as stored, (H,W,3) uint8 RGB; scaled to (width, height) ``size`` where that is given."""
    # Untagged video is read as BT.601, as ffmpeg and OpenCV do.
    matrix = Colorspace.SMPTE170M if frame.colorspace == _UNSPECIFIED_MATRIX else None
    interpolation = _SMOOTH if size is None or enlarged else _AVERAGED
    width, height = size or (frame.width, frame.height)
    kind = (frame.width, frame.height, frame.format.name, width, height, int(interpolation))
    if frame.format.name == _RGB_PLANES and size is None:
        return _interleaved(frame)
    # One plane per colour first: bit for bit what ffmpeg makes of its pixel-by-pixel path to RGB, in a third of the
    # time (720p: 2.4 ms for 7.0; a face of 424 pixels shrunk to 256: 0.45 for 0.75; measured).
    in_planes = frame.format.name in _PLANAR
    scaler = _scaler(get_ident(), kind)
    converted = scaler.reformat(
        frame,
        width,
        height,
        format=_RGB_PLANES if in_planes else "rgb24",
        src_colorspace=matrix,
        interpolation=interpolation,
        dst_color_range=ColorRange.JPEG,
        threads=1,
    )
    return _interleaved(converted) if in_planes else converted.to_ndarray()


# Scalers and graphs work outside Python's lock and write into themselves: two threads that share one crash the process.
# So every thread has its own; the number of a thread that has ended may come again, and takes over what that one had.


@lru_cache(maxsize=64)
def _scaler(_thread: int, _kind: tuple[object, ...]) -> VideoReformatter:
    """Return the scaler of a kind of conversion; it keeps its tables, which take as long to make as a face to scale."""
    return VideoReformatter()


@lru_cache(maxsize=16)
def _cutter(
    _thread: int, kind: tuple[int, int, str], part: tuple[int, int, int, int], copied: bool
) -> tuple[Graph, FilterContext, FilterContext]:
    """Return a graph that cuts (left, top, width, height) and its ends; making one takes longer than using it.

    Args:
        kind: width, height and pixel format of the frames.
        part: what to cut.
        copied: the cut gets memory of its own, so that the frame's is free for the next one.
    """
    width, height, format_name = kind
    graph = Graph()
    source = graph.add_buffer(width=width, height=height, format=VideoFormat(format_name), time_base=Fraction(1))
    crop = graph.add("crop", f"{part[2]}:{part[3]}:{part[0]}:{part[1]}:exact=1")
    sink = graph.add("buffersink")
    source.link_to(crop)
    last = crop
    if copied:
        last = graph.add("copy")
        crop.link_to(last)
    last.link_to(sink)
    graph.configure()
    return graph, source, sink  # the ends alone would not keep it alive


def resized(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return an (H,W,3) uint8 RGB picture stretched to (height,width,3): averaged where it shrinks, else bicubic.

    The pixels are the same on every processor. OpenCV's are not: in a few pixels INTER_CUBIC with AVX2 rounds otherwise
    than with SSE4.2 (Intel's IPP does it), and INTER_AREA on aarch64 otherwise than on x86-64 (measured).
    """
    if picture.shape[:2] == (height, width):
        return np.ascontiguousarray(picture)
    # Red, green and blue pass as the three planes of a format without subsampling, so that nothing converts colours.
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture.transpose(2, 0, 1)), format="yuv444p")
    shrinks = picture.shape[0] >= height and picture.shape[1] >= width
    scaler = _scaler(get_ident(), ("resized", *picture.shape, width, height))
    scaled = scaler.reformat(frame, width, height, interpolation=_AVERAGED if shrinks else _SMOOTH, threads=1)
    return cv2.merge([_view(plane) for plane in scaled.planes])


def _interleaved(frame: av.VideoFrame) -> np.ndarray:
    """Return a frame of three colour planes as (H,W,3) uint8 RGB."""
    green, blue, red = (_view(plane) for plane in frame.planes)
    return cv2.merge((red, green, blue))


def _view(plane: av.video.plane.VideoPlane) -> np.ndarray:
    return np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
