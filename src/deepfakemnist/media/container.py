"""Opening a video file, and reading every frame of it or saying why not.

Decoders are silent about loss: a cut MKV ends like a whole one, damaged pictures are patched over. Every read of a
whole file therefore counts and compares (index, packets, pictures, times) and raises instead of returning less.

Reasons, the same wherever a video is read:

=================== ======== ==========================================================================
missing_file        failed   no such file, or a folder
unreadable          failed   the system refuses to open it
empty_file          failed   zero bytes
not_a_video         failed   no known video container (HTML, text, a picture, noise)
truncated           failed   begins like a video but ends early
corrupt             failed   a packet cannot be decoded, or decodes to a damaged picture
no_frames           failed   the video stream is empty
no_video_stream     rejected audio only, or nothing but a cover picture
bit_depth           rejected more than 8 bits per component; transform it to 8 bits first
hdr                 rejected brightness coded for HDR (PQ or HLG); map its tones first
interlaced          rejected two moments in one frame; deinterlace it first
transparent         rejected pixels that are not opaque have no colour of their own
rotation            rejected display rotation that is no multiple of 90 degrees
size_changes        rejected frames of different sizes in one stream
outside_the_video   rejected the wanted segment is not in the video (:mod:`.decode`)
=================== ======== ==========================================================================
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from deepfakemnist.errors import Failed, Rejected
from deepfakemnist.media.ebml import stated_size

#: Containers of moving pictures. Everything else is refused before it is parsed: playlists and image lists would make
#: ffmpeg open other files, a picture would count as a one-frame video.
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,mxf,nut,gif"
_LIMITS = {"protocol_whitelist": "file", "format_whitelist": _CONTAINERS}
_SIGNATURES = (
    (0, b"GIF8"),
    (4, b"ftyp"),
    (4, b"moov"),
    (4, b"mdat"),
    (0, b"\x1a\x45\xdf\xa3"),
    (0, b"RIFF"),
    (0, b"OggS"),
)
#: Codecs whose packets may hold no picture of their own (hidden reference frames, packed B-frames).
_PICTURELESS_PACKETS = {"vp8", "mpeg4", "msmpeg4v3"}
#: Transfer characteristics of HDR: SMPTE ST 2084 (PQ) and ARIB STD-B67 (HLG).
_HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
#: Header durations are rounded, and the last frame's duration is a guess in MKV.
_END_TOLERANCE_S = 0.25


@dataclass
class Video:
    """An open file and its one video stream."""

    path: Path
    container: InputContainer
    stream: VideoStream

    @property
    def stores_whole_frames(self) -> bool:
        """Does every packet give exactly one picture in this container and codec?"""
        family = {"mov", "matroska"} & set(self.container.format.name.split(","))
        return bool(family) and self.stream.codec_context.name not in _PICTURELESS_PACKETS

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
    """Open a file for reading its first real video stream; cover pictures do not count.

    Raises: Failed or Rejected with a reason of the module's list.
    """
    # An absolute path cannot be read as an option ("-x.mp4") or as a protocol ("a:b.mp4").
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
    try:
        container = av.open(str(path), options=_LIMITS, metadata_errors="replace")
    except (av.FFmpegError, ValueError) as error:
        if any(head[at : at + len(mark)] == mark for at, mark in _SIGNATURES):
            raise Failed("truncated", f"{path}: begins like a video, but its index is missing or broken") from error
        raise Failed("not_a_video", f"{path}: none of the containers {_CONTAINERS}") from error
    with container:
        stream = _video_stream(path, container)
        stream.thread_count = 1  # a workflow runs one job per core already
        stream.codec_context.options = {"err_detect": "explode"}  # else damage is patched over
        yield Video(path, container, stream)


def every_frame(video: Video) -> Iterator[av.VideoFrame]:
    """Yield all frames as stored, in presentation order; the last step proves that they are all.

    Raises: Failed with reason truncated, corrupt or no_frames; Rejected with reason size_changes.
    """
    _check_index(video)
    packets = frames = 0
    end = Fraction(0)
    size: tuple[int, int] | None = None
    try:
        for packet in video.container.demux():
            if packet.pts is not None and packet.time_base:
                end = max(end, (packet.pts + (packet.duration or 0)) * Fraction(packet.time_base))
            if packet.stream_index != video.stream.index:
                continue
            if packet.is_corrupt:  # the demuxer got fewer bytes than the packet should have
                reason = "corrupt" if _more_follows(video) else "truncated"
                raise Failed(reason, f"{video.path}: a packet is incomplete after {frames} good frames")
            packets += bool(packet.size) and not packet.is_discard
            for frame in packet.decode():
                assert isinstance(frame, av.VideoFrame)
                _check_frame(video, frame, size)
                size = (frame.width, frame.height)
                frames += 1
                yield frame
    except av.FFmpegError as error:
        reason = "truncated" if _ends_early(video, end) and not _more_follows(video) else "corrupt"
        raise Failed(reason, f"{video.path}: {error.strerror} after {frames} good frames") from error
    if _ends_early(video, end):
        raise Failed("truncated", f"{video.path}: ends at {float(end):.2f} s of {_stated_end(video):.2f} s")
    if frames == 0:
        raise Failed("no_frames", f"{video.path}: the video stream is empty")
    if video.stores_whole_frames and frames != packets:
        raise Failed("corrupt", f"{video.path}: {packets} packets gave {frames} frames")


def frames_from(video: Video, time: Fraction) -> Iterator[av.VideoFrame]:
    """Yield frames from the key frame before ``time`` on, seconds on the stream's clock; nobody counts them.

    Raises: Failed with reason corrupt, which after a jump may mean no more than that the jump was a bad one.
    """
    size: tuple[int, int] | None = None
    try:
        video.container.seek(int(time / video.tick), stream=video.stream)
        for frame in video.container.decode(video.stream):
            _check_frame(video, frame, size)
            size = (frame.width, frame.height)
            yield frame
    except av.FFmpegError as error:
        raise Failed("corrupt", f"{video.path}: {error.strerror} after a jump to {float(time):.2f} s") from error


def _video_stream(path: Path, container: InputContainer) -> VideoStream:
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:
            break
    else:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "no stream"
        raise Rejected("no_video_stream", f"{path}: holds {kinds}")
    depth = bit_depth(stream)
    if depth is not None and depth > 8:
        raise Rejected(
            "bit_depth",
            f"{path}: {depth} bits per component ({stream.codec_context.pix_fmt}); allowed are 8. Convert it first, "
            "with tone mapping if it is HDR",
        )
    if stream.metadata.get("alpha_mode") == "1":  # WebM keeps transparency beside the picture, where decoders skip it
        raise Rejected("transparent", f"{path}: its pixels have transparency; put it on a background first")
    return stream


def bit_depth(stream: VideoStream) -> int | None:
    """Return bits per colour component, or None while the pixel format is unknown."""
    layout = stream.codec_context.format
    return max(component.bits for component in layout.components) if layout else None


def _check_index(video: Video) -> None:
    """An MP4's index says where every sample lies, a Matroska file how long it is: one that ends before was cut."""
    size = video.path.stat().st_size
    if "matroska" in video.container.format.name.split(",") and (stated_size(video.path) or 0) > size:
        raise Failed("truncated", f"{video.path}: has {size} of {stated_size(video.path)} bytes")
    if not _has_sample_table(video):
        return
    entries = list(video.stream.index_entries)
    missing = sum(entry.pos + entry.size > size for entry in entries)
    if missing:
        raise Failed("truncated", f"{video.path}: {missing} of {len(entries)} frames lie beyond its end")
    if sum(entry.size > 0 for entry in entries) < video.stream.frames:
        _check_count(video)


def _check_count(video: Video) -> None:
    """An MP4 says how many frames it has; an edit list may leave some of them out of the index, nothing else may."""
    with av.open(str(video.path), options={**_LIMITS, "ignore_editlist": "1"}, metadata_errors="replace") as whole:
        there = sum(entry.size > 0 for entry in whole.streams[video.stream.index].index_entries)
    if there < video.stream.frames:
        raise Failed("corrupt", f"{video.path}: {there} frames are there, its header says {video.stream.frames}")


def _has_sample_table(video: Video) -> bool:
    """Tell MP4 and MOV from other containers, and from their fragmented kind, whose index lies all over the file."""
    return "mov" in video.container.format.name.split(",") and video.stream.frames > 0


def _check_frame(video: Video, frame: av.VideoFrame, size: tuple[int, int] | None) -> None:
    where = f"{video.path}: the frame at {frame.time} s"
    if frame.is_corrupt:
        raise Failed("corrupt", f"{where} is damaged")
    if frame.interlaced_frame:
        raise Rejected("interlaced", f"{where} is interlaced; deinterlace the video first, e.g. by ffmpeg's bwdif")
    if frame.color_trc in _HDR_TRANSFERS:
        raise Rejected("hdr", f"{where} is {_HDR_TRANSFERS[frame.color_trc]}; map its tones to SDR first")
    if any(component.is_alpha for component in frame.format.components) and _opacity(frame) < 255:
        raise Rejected("transparent", f"{where} has pixels that are not opaque; put it on a background first")
    if size is not None and (frame.width, frame.height) != size:
        raise Rejected("size_changes", f"{video.path}: {size} becomes {(frame.width, frame.height)} at {frame.time} s")


def _opacity(frame: av.VideoFrame) -> int:
    """Return the smallest alpha of a frame, 0..255."""
    return int(frame.reformat(format="rgba").to_ndarray()[..., 3].min())


def _stated_end(video: Video) -> float:
    """Return the end that the file's header promises for its longest stream, seconds; 0 where the index said more."""
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
