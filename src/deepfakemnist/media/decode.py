"""Video decoding to upright RGB frames, with segment selection and resampling to a constant frame rate.

Resampling holds or drops whole frames and never blends them, so every frame is one that the file stores.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import ceil
from pathlib import Path

import av
import numpy as np

from deepfakemnist.errors import Failed, Rejected
from deepfakemnist.media.container import every_frame, frames_from, open_video
from deepfakemnist.media.picture import Picture

#: MKV rounds timestamps to 1 ms; a frame that is this late still counts as on time.
_ROUNDING_S = Fraction(1, 1000)
#: How much of a requested segment may be missing at its end; sheets round to tenths of a second.
_SEGMENT_SLACK_S = Fraction(1, 2)
#: Segments that start before this are reached by decoding from the beginning instead of seeking.
_SEEK_FROM_S = Fraction(2)


def read_frames(
    path: Path | str, *, fps: float | None = None, start_s: float | None = None, end_s: float | None = None
) -> Iterator[np.ndarray]:
    """Yield upright RGB frames, (H,W,3) uint8, one at a time.

    Args:
        path: video file.
        fps: constant output rate. Frame k is the source frame on screen at ``start_s + k / fps``, so variable-rate
            video and 30 → 25 keep real time. None yields every frame as stored.
        start_s: start of the segment, seconds after the first frame; None is the beginning.
        end_s: end of the segment, exclusive; None is the end of the video.

    Raises:
        Failed, Rejected: with a reason of :mod:`.container`. Truncation shows only at the end of a file, so frames
            are valid once the iterator is exhausted. A segment is read from the keyframe before it to its end;
            what lies outside is not checked.
    """
    for picture, repeats in read_pictures(path, fps=fps, start_s=start_s, end_s=end_s):
        image = picture.rgb()
        for _ in range(repeats - 1):
            yield image.copy()  # callers may modify the frame in place
        yield image


def read_pictures(
    path: Path | str, *, fps: float | None = None, start_s: float | None = None, end_s: float | None = None
) -> Iterator[tuple[Picture, int]]:
    """Yield the frames of :func:`read_frames` before RGB conversion: each picture and its number of repeats."""
    start, end = _segment(start_s, end_s)
    if fps is not None and fps <= 0:
        raise ValueError(f"fps must be > 0, not {fps}")
    # limit_denominator recovers 30000/1001 from 29.97002997
    step = None if fps is None else 1 / Fraction(fps).limit_denominator(1001)
    emitted = 0
    for begin, until, frame in timed_frames(path, start_s=start_s, end_s=end_s):
        if step is None:
            wanted = int(begin >= start - _ROUNDING_S)
        else:
            stop = until if end is None else min(until, end)
            wanted = ceil((stop - _ROUNDING_S - start) / step) - emitted
        if wanted > 0:
            emitted += wanted
            yield Picture(frame), wanted
    if emitted == 0:
        raise _outside(path, start, end, until)


def timed_frames(
    path: Path | str, *, start_s: float | None = None, end_s: float | None = None
) -> Iterator[tuple[Fraction, Fraction, av.VideoFrame]]:
    """Yield (begin, until, frame) of a segment: each frame's display interval, in seconds after the first frame.

    The first frame may begin before ``start_s``. Without ``end_s`` the file is read to its end and checked for
    completeness.

    Raises: as :func:`read_frames`.
    """
    start, end = _segment(start_s, end_s)
    until, shown = Fraction(0), False
    for begin, until, frame in _display_intervals(Path(path), start, may_seek=end is not None):
        if until > start + _ROUNDING_S and (end is None or begin < end - _ROUNDING_S):
            shown = True
            yield begin, until, frame
        if end is not None and until >= end - _ROUNDING_S:
            break
    if not shown or (end is not None and until < end - _SEGMENT_SLACK_S):
        raise _outside(path, start, end, until)


def read_clip(path: Path | str) -> np.ndarray:
    """Return every frame of a short clip as one array, (T,H,W,3) uint8 RGB, checked for completeness.

    Raises: Failed, Rejected with a reason of :mod:`.container`.
    """
    return np.stack(list(read_frames(path)))


def _segment(start_s: float | None, end_s: float | None) -> tuple[Fraction, Fraction | None]:
    start = Fraction(start_s or 0).limit_denominator(10**6)
    end = None if end_s is None else Fraction(end_s).limit_denominator(10**6)
    if start < 0 or (end is not None and end <= start):
        raise ValueError(f"0 <= start_s < end_s is required, not start_s={start_s} end_s={end_s}")
    return start, end


def _outside(path: Path | str, start: Fraction, end: Fraction | None, length: Fraction) -> Rejected:
    segment = f"{float(start):.2f} s to {'the end' if end is None else f'{float(end):.2f} s'}"
    return Rejected("outside_the_video", f"{path}: segment {segment} requested, the video has {float(length):.2f} s")


def _display_intervals(
    path: Path, start: Fraction, may_seek: bool
) -> Iterator[tuple[Fraction, Fraction, av.VideoFrame]]:
    """Yield (begin, end, frame): each frame's display interval, in seconds after the first frame.

    Frames that end before ``start`` may be left out. Only a read from the beginning can prove that the end of the
    file is there, so a read to the end must not seek.
    """
    with open_video(path) as video:
        origin = frame_time(next(every_frame(video)), Fraction(0))
    waiting: tuple[Fraction, Fraction, av.VideoFrame] | None = None
    with open_video(path) as video:
        seeks = may_seek and start > _SEEK_FROM_S and _can_seek(path, origin + start)
        for frame in frames_from(video, origin + start) if seeks else every_frame(video):
            begin = frame_time(frame, waiting[1] + origin if waiting else origin) - origin
            if waiting:
                yield waiting[0], begin, waiting[2]
            waiting = (begin, begin + (frame.duration * video.tick or video.frame_duration), frame)
    if waiting:
        yield waiting


def _can_seek(path: Path, time: Fraction) -> bool:
    """Try the seek: files without an index land late, and open GOPs decode badly after a seek."""
    first: Fraction | None = None
    try:
        with open_video(path) as video:
            for frame in frames_from(video, time):
                now = frame_time(frame, time + 1)
                first = now if first is None else first
                if now >= time:
                    break
    except Failed:
        return False
    return first is not None and first <= time


def frame_time(frame: av.VideoFrame, guess: Fraction) -> Fraction:
    """Return a frame's presentation time in stream seconds, or ``guess`` when it has no timestamp."""
    return guess if frame.pts is None or frame.time_base is None else frame.pts * Fraction(frame.time_base)
