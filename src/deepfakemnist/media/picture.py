"""Lazy RGB conversion of a decoded frame: whole, cropped or downscaled.

Converting a 720p frame to RGB costs as much as decoding it; a face crop needs a tenth of it, a face detector a small
copy. Both come straight from the stored planes, and a region has the same pixels as in the RGB of the whole frame.
"""

from __future__ import annotations

import gc
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

from deepfakemnist.media.display import UPRIGHT, frame_orientation

#: Bit-exact scaling gives the same pixels with and without SIMD, hence on every machine. Without full chroma
#: interpolation, pictures come out 1.5 grey levels too dark.
_EXACT = Interpolation.ACCURATE_RND | Interpolation.BITEXACT | Interpolation.FULL_CHR_H_INT
_SMOOTH, _AVERAGED = Interpolation.BICUBIC | _EXACT, Interpolation.AREA | _EXACT
_UNSPECIFIED_MATRIX = 2  # AVCOL_SPC_UNSPECIFIED
#: Formats whose planes can be cropped, with their chroma subsampling (horizontal, vertical).
_PLANAR = {
    **{f"yuv{j}420p": (2, 2) for j in ("", "j")},
    **{f"yuv{j}422p": (2, 1) for j in ("", "j")},
    **{f"yuv{j}444p": (1, 1) for j in ("", "j")},
}
#: Pixel format of lossless working clips: one plane per colour.
_RGB_PLANES = "gbrp"
#: Chroma interpolation spans a few pixels; this margin makes the edge of a region match the whole picture.
_BORDER = 16
#: Kept regions are aligned to multiples of this, so that few filter graphs suffice; regions larger than this fraction
#: of the picture are not worth a copy.
_ALIGNMENT, _MAX_KEPT_FRACTION = 64, 0.7
#: Bytes of copied crops since the last clean-up that call for another one.
_MAX_COPIED_BYTES = 256 << 20
_copied_bytes = 0
#: Largest deviation of a sample aspect ratio from 1 that is not worth a rescaling.
_SQUARE_TOLERANCE = Fraction(1, 100)


class Picture:
    """One frame, upright.

    Args:
        frame: as decoded; referenced, so its pixels stay in memory as long as the picture.

    Raises: Rejected with reason rotation, see :func:`.display.frame_orientation`.
    """

    _at = (0, 0)  # left and top of the pixels held

    def __init__(self, frame: av.VideoFrame) -> None:
        self._frame = frame
        self._orientation = frame_orientation(frame)
        turned = self._orientation.transposed
        self.width, self.height = (frame.height, frame.width) if turned else (frame.width, frame.height)

    @property
    def nbytes(self) -> int:
        """Memory of the stored pixels, bytes."""
        return sum(plane.buffer_size for plane in self._frame.planes)

    def near(self, left: int, top: int, width: int, height: int) -> Picture:
        """Return a picture of the same size that holds only pixels in and near a region, in its own memory.

        Within what it :meth:`holds`, :meth:`region` and :meth:`scaled_region` give the same result as on the whole
        picture. Returns ``self`` when too little would be saved or the pixel format cannot be cropped.
        """
        across, down = _PLANAR.get(self._frame.format.name, (0, 0))
        if not across or self._orientation != UPRIGHT or self.width % across or self.height % down:
            return self
        first = (max(0, left) // _ALIGNMENT * _ALIGNMENT, max(0, top) // _ALIGNMENT * _ALIGNMENT)
        last = (
            min(self.width, -(-(left + width) // _ALIGNMENT) * _ALIGNMENT),
            min(self.height, -(-(top + height) // _ALIGNMENT) * _ALIGNMENT),
        )
        wide, high = last[0] - first[0], last[1] - first[1]
        if wide <= 0 or high <= 0 or wide * high > _MAX_KEPT_FRACTION * self.width * self.height:
            return self
        global _copied_bytes
        near = Picture(self._crop(*first, wide, high, copied=True))
        _copied_bytes += near.nbytes
        near._at, near.width, near.height = first, self.width, self.height
        return near

    def holds(self, left: int, top: int, width: int, height: int) -> bool:
        """Return whether this picture has the pixels of a region, as far as it lies inside the picture."""
        (x, y), frame = self._at, self._frame
        return (self.width, self.height) in ((frame.width, frame.height), (frame.height, frame.width)) or (
            x <= max(0, left - _BORDER)
            and y <= max(0, top - _BORDER)
            and min(self.width, left + width + _BORDER) <= x + frame.width
            and min(self.height, top + height + _BORDER) <= y + frame.height
        )

    def rgb(self) -> np.ndarray:
        """Return the whole picture, (H,W,3) uint8 RGB."""
        return self._upright(_to_rgb(self._frame))

    def samples(self) -> np.ndarray:
        """Return the stored samples, flat uint8: planes Y, U, V in turn; RGB pixels for other formats."""
        if self._frame.format.name not in _PLANAR:
            return self.rgb().reshape(-1)
        return np.concatenate([_view(plane).reshape(-1) for plane in self._frame.planes])

    def region(self, left: int, top: int, width: int, height: int) -> np.ndarray:
        """Return a region inside the picture, (height,width,3) uint8 RGB, with the pixels of :meth:`rgb`."""
        if not (0 <= left < left + width <= self.width and 0 <= top < top + height <= self.height):
            raise ValueError(f"{width}x{height} at {left}, {top} is not inside {self.width}x{self.height}")
        across, down = _PLANAR.get(self._frame.format.name, (0, 0))
        # At odd sizes chroma is stretched over the whole width, so a crop would get different colours.
        if not across or self._orientation != UPRIGHT or self.width % across or self.height % down:
            return self.rgb()[top : top + height, left : left + width]
        first = (max(0, left - _BORDER) // across * across, max(0, top - _BORDER) // down * down)
        last = (
            min(self.width, -(-(left + width + _BORDER) // across) * across),
            min(self.height, -(-(top + height + _BORDER) // down) * down),
        )
        part = self._crop(*first, last[0] - first[0], last[1] - first[1])
        return _to_rgb(part)[top - first[1] :, left - first[0] :][:height, :width]

    def scaled_region(self, left: int, top: int, width: int, height: int, size: int) -> np.ndarray:
        """Return a region resized to (size,size,3) uint8 RGB, by area averaging when it shrinks.

        A region with even edges is scaled in the stored format, before RGB conversion, in a third of the time.
        """
        inside = left >= 0 and top >= 0 and left + width <= self.width and top + height <= self.height
        even = not any(value % 2 for value in (left, top, width, height))
        if inside and even and self._frame.format.name in _PLANAR and self._orientation == UPRIGHT:
            return _to_rgb(self._crop(left, top, width, height), (size, size), enlarged=min(width, height) < size)
        return resized(self.region(left, top, width, height), size, size)

    def shrunk(self, max_side: int) -> np.ndarray:
        """Return the picture downscaled to a longer side of at most ``max_side``, area-averaged, (h,w,3) uint8 RGB."""
        factor = min(1.0, max_side / max(self.width, self.height))
        if factor == 1.0:
            return self.rgb()
        size = (max(1, round(self._frame.width * factor)), max(1, round(self._frame.height * factor)))
        return self._upright(_to_rgb(self._frame, size))

    def grey(self) -> np.ndarray:
        """Return the stored luma, (h,w) uint8, not rotated; a view where the format allows one."""
        if self._frame.format.name in _PLANAR:
            return _view(self._frame.planes[0])
        return self._frame.reformat(format="gray", threads=1).to_ndarray()

    def _crop(self, left: int, top: int, width: int, height: int, copied: bool = False) -> av.VideoFrame:
        """Return a region with all tags of the frame, among them the chroma location, which only ffmpeg preserves."""
        frame = self._frame
        kind = (frame.width, frame.height, frame.format.name)
        part = (left - self._at[0], top - self._at[1], width, height)
        _, source, sink = _crop_graph(get_ident(), kind, part, copied)
        source.push(frame)
        cropped = sink.pull()
        assert isinstance(cropped, av.VideoFrame)
        return cropped

    def _upright(self, picture: np.ndarray) -> np.ndarray:
        return self._orientation.upright(picture)


def square_pixels(frame: av.VideoFrame, sample_aspect: Fraction) -> av.VideoFrame:
    """Return a frame scaled to square pixels: its width times the sample aspect ratio, rounded to an even number.

    All else about the frame stays as it is, times and tags among it; a format that the scaler cannot write becomes
    rgb24. A ratio within 1 % of square leaves the frame as it is: 1280:1281, say, only rounds a width of 853.3 pixels.
    """
    if abs(sample_aspect - 1) <= _SQUARE_TOLERANCE:
        return frame
    width = max(2, 2 * round(frame.width * sample_aspect / 2))
    kept = frame.format.name in _PLANAR or frame.format.name == _RGB_PLANES
    kind = ("square", frame.width, frame.height, frame.format.name, width)
    return _scaler(get_ident(), kind).reformat(
        frame,
        width,
        frame.height,
        format=frame.format.name if kept else "rgb24",
        src_colorspace=None if kept else _matrix(frame),
        dst_color_range=None if kept else ColorRange.JPEG,
        interpolation=_SMOOTH,
        threads=1,
    )


def _to_rgb(frame: av.VideoFrame, size: tuple[int, int] | None = None, enlarged: bool = False) -> np.ndarray:
    """Return a frame, not rotated, as (H,W,3) uint8 RGB; scaled to ``size`` (width, height) when given."""
    interpolation = _SMOOTH if size is None or enlarged else _AVERAGED
    width, height = size or (frame.width, frame.height)
    kind = (frame.width, frame.height, frame.format.name, width, height, int(interpolation))
    if frame.format.name == _RGB_PLANES and size is None:
        return _interleaved(frame)
    # Via planar RGB: bit for bit the result of ffmpeg's path to packed RGB, in a third of the time (720p: 2.4 ms
    # instead of 7.0; a face of 424 pixels shrunk to 256: 0.45 instead of 0.75; measured).
    in_planes = frame.format.name in _PLANAR
    scaler = _scaler(get_ident(), kind)
    converted = scaler.reformat(
        frame,
        width,
        height,
        format=_RGB_PLANES if in_planes else "rgb24",
        src_colorspace=_matrix(frame),
        interpolation=interpolation,
        dst_color_range=ColorRange.JPEG,
        threads=1,
    )
    return _interleaved(converted) if in_planes else converted.to_ndarray()


def _matrix(frame: av.VideoFrame) -> Colorspace | None:
    """Return the colour matrix to convert with; None is the frame's own."""
    # Untagged video is read as BT.601, as in ffmpeg and OpenCV.
    return Colorspace.SMPTE170M if frame.colorspace == _UNSPECIFIED_MATRIX else None


# Scalers and graphs are stateful and release the GIL: two threads that share one crash the process. So every thread has
# its own; a new thread that gets the id of an ended one inherits its scalers and graphs.


@lru_cache(maxsize=64)
def _scaler(_thread: int, _kind: tuple[object, ...]) -> VideoReformatter:
    """Return the scaler of one conversion; it caches tables that take as long to build as scaling a face."""
    return VideoReformatter()


@lru_cache(maxsize=16)
def _crop_graph(
    _thread: int, kind: tuple[int, int, str], part: tuple[int, int, int, int], copied: bool
) -> tuple[Graph, FilterContext, FilterContext]:
    """Return a crop filter graph with its source and sink; building one takes longer than running it.

    Args:
        kind: width, height and pixel format of the frames.
        part: left, top, width and height of the crop.
        copied: copy the crop to its own memory, so that the frame's buffer is free for the next one.
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
    return graph, source, sink  # source and sink alone would not keep the graph alive


def free_buffers() -> None:
    """Free the buffers of crops that nobody holds any more, once they may have grown large.

    A filter graph keeps as many as it ever had in use, a thousand where the crops of a whole clip wait in memory, and
    the crops of another clip have other graphs. Without this, memory grew by 140 MB per 41 s of a 360x288 video.
    """
    global _copied_bytes
    if _copied_bytes > _MAX_COPIED_BYTES:
        _copied_bytes = 0
        _crop_graph.cache_clear()
        gc.collect()  # PyAV's graphs and contexts refer to each other; 30 ms, a tenth of decoding a short clip


def resized(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return an (H,W,3) uint8 RGB picture resized to (height,width,3): area-averaged when it shrinks, else bicubic.

    The result is the same on every CPU. OpenCV's is not: in a few pixels INTER_CUBIC rounds differently with AVX2 than
    with SSE4.2 (in Intel's IPP), and INTER_AREA differently on aarch64 than on x86-64 (measured).
    """
    if picture.shape[:2] == (height, width):
        return np.ascontiguousarray(picture)
    # Red, green and blue pass as the three planes of a format without subsampling, which avoids colour conversion.
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture.transpose(2, 0, 1)), format="yuv444p")
    shrinks = picture.shape[0] >= height and picture.shape[1] >= width
    scaler = _scaler(get_ident(), ("resized", *picture.shape, width, height))
    scaled = scaler.reformat(frame, width, height, interpolation=_AVERAGED if shrinks else _SMOOTH, threads=1)
    return cv2.merge([_view(plane) for plane in scaled.planes])


def _interleaved(frame: av.VideoFrame) -> np.ndarray:
    """Return a planar RGB frame as (H,W,3) uint8 RGB."""
    green, blue, red = (_view(plane) for plane in frame.planes)
    return cv2.merge((red, green, blue))


def _view(plane: av.video.plane.VideoPlane) -> np.ndarray:
    return np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
