"""Video file reader that detects truncated and corrupt files.

Decoders hide loss: a truncated MKV ends like a complete one, damaged frames are concealed. Every read of a complete
file therefore cross-checks index, packets, frames and times, and raises instead of returning fewer frames.

Reasons, the same wherever a video is read:

=================== ======== ==========================================================================
missing_file        failed   no such file, or a folder
unreadable          failed   the operating system refuses to open it
empty_file          failed   zero bytes
not_a_video         failed   no known video container (HTML, text, a still image, noise)
truncated           failed   starts like a video but ends early
corrupt             failed   a packet cannot be decoded, or decodes to a damaged frame
no_frames           failed   the video stream is empty
unknown_codec       failed   no decoder for the video stream in this build of PyAV
no_video_stream     rejected audio only, or only cover art
bit_depth           rejected more than 8 bits per component; convert to 8 bits first
hdr                 rejected HDR transfer function (PQ or HLG); tone-map first
interlaced          rejected interlaced frames; deinterlace first
transparent         rejected non-opaque pixels; composite onto a background first
rotation            rejected display rotation other than a multiple of 90 degrees
sample_aspect       rejected pixels more than 4 times as wide as high, or as high as wide
size_changes        rejected frames of different sizes or orientations in one stream
cut_mid_group       rejected starts in the middle of a group of pictures, in a way that not every player survives
time_stamps         rejected times step back, or give frames no time on screen (:mod:`.decode`)
outside_the_video   rejected the requested segment exceeds the video (:mod:`.decode`)
over_limit          rejected more pixels, frames, seconds or memory than allowed (:mod:`.limits`)
=================== ======== ==========================================================================
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from deepfakemnist.errors import Failed, Rejected
from deepfakemnist.media.cut_start import CutStart
from deepfakemnist.media.ebml import stated_size
from deepfakemnist.media.frame_check import FrameCheck, StoredFormat
from deepfakemnist.media.limits import check_length, check_memory, check_size, decoder_options

#: Allowed video containers. Anything else is refused before parsing: playlists and image sequences would make ffmpeg
#: open other files, and a still image would count as a one-frame video.
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,mxf,nut,gif"
#: Options with which every file from outside is opened.
INPUT_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": _CONTAINERS}
#: Formats of pictures that are animated too, which ffmpeg does not read as videos: bytes after the start, mark, name.
_ANIMATED_PICTURES = ((8, b"WEBP", "WebP"), (0, b"\x89PNG", "PNG"))
_SIGNATURES = (
    (0, b"GIF8"),
    (4, b"ftyp"),
    (4, b"moov"),
    (4, b"mdat"),
    (0, b"\x1a\x45\xdf\xa3"),
    (8, b"AVI "),
    (0, b"OggS"),
)
#: Codecs with packets that yield no frame of their own (hidden reference frames, packed B-frames).
_PICTURELESS_PACKETS = {"vp8", "mpeg4", "msmpeg4v3"}
#: Containers that store decoding times only.
_WITHOUT_PRESENTATION_TIMES = {"avi", "asf"}
#: Header durations are rounded, and MKV only estimates the last frame's duration.
_END_TOLERANCE_S = 0.25


@dataclass
class Video:
    """An open file and its video stream.

    Attributes:
        stored: format of the stored frames, once one was read.
        left_out: pictures left out, once all were read: they depend on ones that a cut removed, and no player shows
            them.
    """

    path: Path
    container: InputContainer
    stream: VideoStream
    stored: StoredFormat | None = None
    left_out: int = 0

    @property
    def stores_whole_frames(self) -> bool:
        """Whether every packet yields exactly one frame in this container and codec."""
        family = {"mov", "matroska"} & set(self.container.format.name.split(","))
        return bool(family) and self.stream.codec_context.name not in _PICTURELESS_PACKETS

    @property
    def has_presentation_times(self) -> bool:
        """Whether the container stores when a frame is shown, and not only when it is decoded."""
        return not _WITHOUT_PRESENTATION_TIMES & set(self.container.format.name.split(","))

    @property
    def has_headers(self) -> bool:
        """Whether the headers that decoding starts from were found; only H.264 and HEVC may lack them."""
        codec = self.stream.codec_context
        return codec.name not in {"h264", "hevc"} or codec.width > 0

    @property
    def tick(self) -> Fraction:
        """Seconds per unit of the stream's time stamps."""
        return Fraction(self.stream.time_base or Fraction(1, av.time_base))

    @property
    def frame_duration(self) -> Fraction:
        """Average seconds per frame as the container states it."""
        rate = self.stream.average_rate or self.stream.guessed_rate or 25
        return 1 / Fraction(rate)


@contextmanager
def open_video(path: Path | str) -> Iterator[Video]:
    """Open a file for reading its first video stream; cover art does not count.

    Raises: Failed or Rejected with a reason listed in the module docstring.
    """
    # An absolute path cannot be parsed as an option ("-x.mp4") or a protocol ("a:b.mp4").
    path = Path(path).absolute()
    if not path.is_file():
        raise Failed("missing_file", f"{path}: {'is a folder' if path.is_dir() else 'no such file'}")
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise Failed("unreadable", f"{path}: {error}") from error
    if not head:
        raise Failed("empty_file", f"{path}: zero bytes")
    for at, mark, name in _ANIMATED_PICTURES:
        if head[at : at + len(mark)] == mark:
            command = f"magick {shlex.quote(path.name)} {shlex.quote(path.stem + '.mp4')}"
            raise Failed(
                "not_a_video", f"{path}: {name} is a format of pictures; an animated one can be converted: {command}"
            )
    try:
        container = av.open(str(path), options=INPUT_OPTIONS, metadata_errors="replace")
    except (av.FFmpegError, ValueError) as error:
        if isinstance(error, MemoryError):
            raise
        if any(head[at : at + len(mark)] == mark for at, mark in _SIGNATURES):
            raise Failed("truncated", f"{path}: starts like a video, but its index is missing or broken") from error
        raise Failed("not_a_video", f"{path}: none of the supported containers {_CONTAINERS}") from error
    with container:
        stream = _video_stream(path, container)
        check_size(path, stream.codec_context.width, stream.codec_context.height)
        check_length(path, stream.frames)
        stream.thread_count = 1  # the workflow already runs one job per core
        # Without err_detect, damage is concealed.
        stream.codec_context.options = {"err_detect": "explode", **decoder_options()}
        yield Video(path, container, stream)


def every_frame(video: Video) -> Iterator[av.VideoFrame]:
    """Yield all frames in the order in which they are shown, with square pixels, but as stored otherwise.

    Exhausting the iterator proves that none is missing. Of a stream that was cut without re-encoding, the pictures
    that depend on removed ones are left out, as in every player; see :attr:`Video.left_out`.

    Raises: Failed with reason truncated, corrupt or no_frames; Rejected with reason size_changes, sample_aspect or
        cut_mid_group.
    """
    _check_index(video)
    start = CutStart(video.path, video.stream.index, video.has_presentation_times, video.has_headers)
    packets = frames = 0
    end = _End()
    check = FrameCheck(video)
    made_up_times = not video.has_presentation_times
    try:
        for packet in start.from_keyframe(video.container.demux()):
            end.add(packet)
            # Not packet.stream_index, which is 0 in the packets that flush the decoders at the end.
            if packet.stream.index != video.stream.index:
                continue
            if packet.is_corrupt:  # the demuxer got fewer bytes than the packet should have
                reason = "corrupt" if _more_follows(video) else "truncated"
                raise Failed(reason, f"{video.path}: a packet is incomplete after {frames} good frames")
            packets += bool(packet.size) and not packet.is_discard
            if made_up_times:
                _time_as_decoded(packet)
            for frame in start.decode(packet):
                frames += 1
                check_length(video.path, frames)
                yield check(frame)
    except av.FFmpegError as error:
        _check_decoder(video, error)
        reason = "truncated" if _ends_early(video, end.time) and not _more_follows(video) else "corrupt"
        raise Failed(reason, f"{video.path}: {error.strerror} after {frames} good frames") from error
    if _ends_early(video, end.time):
        raise Failed("truncated", f"{video.path}: ends at {float(end.time):.2f} s of {_stated_end(video):.2f} s")
    if frames == 0:
        raise Failed("no_frames", f"{video.path}: the video stream is empty")
    if video.stores_whole_frames and not packets - start.leading <= frames <= packets:
        raise Failed("corrupt", f"{video.path}: {packets} packets gave {frames} frames")
    # Other containers may split frames over packets, or join them.
    video.left_out = start.before_keyframe + min(start.leading, max(0, packets - frames))


def frames_from(video: Video, time: Fraction) -> Iterator[av.VideoFrame]:
    """Yield frames as :func:`every_frame`, from the keyframe before ``time``, in stream seconds; unchecked for gaps.

    Raises: Failed with reason corrupt, which after a seek may only mean that the seek landed badly.
    """
    check = FrameCheck(video)
    made_up_times = not video.has_presentation_times
    try:
        video.container.seek(int(time / video.tick), stream=video.stream)
        for packet in video.container.demux(video.stream):
            if made_up_times:
                _time_as_decoded(packet)
            for frame in packet.decode():
                assert isinstance(frame, av.VideoFrame)
                yield check(frame)
    except av.FFmpegError as error:
        _check_decoder(video, error)
        raise Failed("corrupt", f"{video.path}: {error.strerror} after a seek to {float(time):.2f} s") from error


def _check_decoder(video: Video, error: av.FFmpegError) -> None:
    """Raise what explains a decoder's error better: memory, or a picture that exceeds the limit in mid-stream."""
    if isinstance(error, MemoryError):
        raise error
    codec = video.stream.codec_context
    check_size(video.path, codec.width, codec.height)
    check_memory(4 * codec.width * codec.height)


def _time_as_decoded(packet: av.Packet) -> None:
    """Replace the presentation time that libavformat makes up where the container stores none."""
    if packet.dts is not None:
        packet.pts = packet.dts


class _End:
    """Where the latest packet of any stream ends; in ticks, because fractions cost a tenth of a small frame."""

    def __init__(self) -> None:
        self._ticks: dict[int, int] = {}
        self._units: dict[int, Fraction] = {}

    def add(self, packet: av.Packet) -> None:
        if packet.pts is None:
            return
        stream = packet.stream.index
        if stream not in self._units:
            self._units[stream] = Fraction(packet.time_base or 0)
        self._ticks[stream] = max(self._ticks.get(stream, 0), packet.pts + (packet.duration or 0))

    @property
    def time(self) -> Fraction:
        """Seconds; 0 before any packet."""
        return max((ticks * self._units[stream] for stream, ticks in self._ticks.items()), default=Fraction(0))


def _video_stream(path: Path, container: InputContainer) -> VideoStream:
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:
            break
    else:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "no stream"
        raise Rejected("no_video_stream", f"{path}: contains only {kinds}")
    if stream.codec_context is None:  # the type annotations of PyAV do not know of it
        raise Failed("unknown_codec", f"{path}: no decoder for its video stream; convert it, e.g. to H.264")
    depth = bit_depth(stream)
    if depth is not None and depth > 8:
        raise Rejected(
            "bit_depth",
            f"{path}: {depth} bits per component ({stream.codec_context.pix_fmt}); 8 are supported. Convert it "
            "first, with tone mapping if it is HDR",
        )
    if stream.metadata.get("alpha_mode") == "1":  # WebM stores alpha as side data, which decoders skip
        raise Rejected("transparent", f"{path}: has an alpha channel; composite it onto a background first")
    return stream


def bit_depth(stream: VideoStream) -> int | None:
    """Return bits per colour component, or None when the pixel format is unknown."""
    layout = stream.codec_context.format
    return max(component.bits for component in layout.components) if layout else None


def _check_index(video: Video) -> None:
    """Raise when the file ends before the last sample in its index (MP4) or before its stated size (Matroska)."""
    size = video.path.stat().st_size
    if "matroska" in video.container.format.name.split(",") and (stated_size(video.path) or 0) > size:
        raise Failed("truncated", f"{video.path}: has {size} of {stated_size(video.path)} bytes")
    if not _has_sample_table(video):
        return
    entries = list(video.stream.index_entries)
    missing = sum(entry.pos + entry.size > size for entry in entries)
    if missing:
        raise Failed("truncated", f"{video.path}: {missing} of {len(entries)} frames lie beyond the end of the file")
    if sum(entry.size > 0 for entry in entries) < video.stream.frames:
        _check_count(video)


def _check_count(video: Video) -> None:
    """Raise when the index lacks frames that the header counts and that no edit list hides."""
    with av.open(
        str(video.path), options={**INPUT_OPTIONS, "ignore_editlist": "1"}, metadata_errors="replace"
    ) as whole:
        indexed = sum(entry.size > 0 for entry in whole.streams[video.stream.index].index_entries)
    if indexed < video.stream.frames:
        raise Failed("corrupt", f"{video.path}: {indexed} frames found, its header says {video.stream.frames}")


def _has_sample_table(video: Video) -> bool:
    """Whether this is a non-fragmented MP4 or MOV; fragmented files spread their index over the whole file."""
    return "mov" in video.container.format.name.split(",") and video.stream.frames > 0


def _stated_end(video: Video) -> float:
    """Return the end of the longest stream as the header states it, seconds; 0 where the index was checked instead."""
    if _has_sample_table(video):
        return 0.0
    return (video.container.duration or 0) / av.time_base


def _ends_early(video: Video, end: Fraction) -> bool:
    return float(end) < _stated_end(video) - max(_END_TOLERANCE_S, 2 * float(video.frame_duration))


def _more_follows(video: Video) -> bool:
    try:
        return any(packet.size for packet in video.container.demux(video.stream))
    except av.FFmpegError:
        return False
