"""From a file to upright RGB frames: all of them, or those of a segment at a constant rate."""

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

#: MKV rounds times to 1 ms; a frame that much late is still on time.
_ROUNDING_S = Fraction(1, 1000)
#: How much of a wanted segment may be missing at its end: sheets round to tenths of a second.
_SEGMENT_SLACK_S = Fraction(1, 2)
#: Segments that begin earlier are reached by decoding from the beginning.
_SEEK_FROM_S = Fraction(2)


def read_frames(
    path: Path | str, *, fps: float | None = None, start_s: float | None = None, end_s: float | None = None
) -> Iterator[np.ndarray]:
    """Yield upright RGB frames, (H,W,3) uint8, one at a time.

    Args:
        path: video file.
        fps: constant rate of the result. Frame k is the source frame on screen at ``start_s + k / fps``, so uneven
            frame times and 30 → 25 come out in real time. None gives every frame as stored.
        start_s: begin of the wanted segment in seconds after the first frame; None is the beginning.
        end_s: end of the segment, not included; None is the end of the video.

    Raises:
        Failed, Rejected: with a reason of :mod:`.container`. Loss shows only at the end of a file, so frames are
            good once the iterator has run out. A segment is read from the key frame before it to its end and no
            further; what lies outside is not judged.
    """
    for picture, times in read_pictures(path, fps=fps, start_s=start_s, end_s=end_s):
        image = picture.rgb()
        for _ in range(times - 1):
            yield image.copy()  # a caller may draw into what it gets
        yield image


def read_pictures(
    path: Path | str, *, fps: float | None = None, start_s: float | None = None, end_s: float | None = None
) -> Iterator[tuple[Picture, int]]:
    """Yield what :func:`read_frames` does before it is RGB: each picture, and how many times in a row it is wanted."""
    start, end = _segment(start_s, end_s)
    if fps is not None and fps <= 0:
        raise ValueError(f"allowed are rates fps > 0, not {fps}")
    # limit_denominator finds 30000/1001 behind 29.97002997
    step = None if fps is None else 1 / Fraction(fps).limit_denominator(1001)
    given = 0
    for begin, until, frame in shown_frames(path, start_s=start_s, end_s=end_s):
        if step is None:
            wanted = int(begin >= start - _ROUNDING_S)
        else:
            stop = until if end is None else min(until, end)
            wanted = ceil((stop - _ROUNDING_S - start) / step) - given
        if wanted > 0:
            given += wanted
            yield Picture(frame), wanted
    if given == 0:
        raise _outside(path, start, end, until)


def shown_frames(
    path: Path | str, *, start_s: float | None = None, end_s: float | None = None
) -> Iterator[tuple[Fraction, Fraction, av.VideoFrame]]:
    """Yield (begin, until, frame) of a segment: the seconds after the first frame between which each is on screen.

    The first may have begun before ``start_s`` when the segment was to be resampled; without an end the file is read
    to its end and proven whole.

    Raises: as :func:`read_frames`.
    """
    start, end = _segment(start_s, end_s)
    until, shown = Fraction(0), False
    for begin, until, frame in _on_screen(Path(path), start, may_jump=end is not None):
        if until > start + _ROUNDING_S and (end is None or begin < end - _ROUNDING_S):
            shown = True
            yield begin, until, frame
        if end is not None and until >= end - _ROUNDING_S:
            break
    if not shown or (end is not None and until < end - _SEGMENT_SLACK_S):
        raise _outside(path, start, end, until)


def read_clip(path: Path | str) -> np.ndarray:
    """Return every frame of a short clip as one array, (T,H,W,3) uint8 RGB, proven complete.

    Raises: Failed, Rejected with a reason of :mod:`.container`.
    """
    return np.stack(list(read_frames(path)))


def _segment(start_s: float | None, end_s: float | None) -> tuple[Fraction, Fraction | None]:
    start = Fraction(start_s or 0).limit_denominator(10**6)
    end = None if end_s is None else Fraction(end_s).limit_denominator(10**6)
    if start < 0 or (end is not None and end <= start):
        raise ValueError(f"allowed are 0 <= start_s < end_s, not start_s={start_s} end_s={end_s}")
    return start, end


def _outside(path: Path | str, start: Fraction, end: Fraction | None, length: Fraction) -> Rejected:
    wish = f"{float(start):.2f} s to {'the end' if end is None else f'{float(end):.2f} s'}"
    return Rejected("outside_the_video", f"{path}: {wish} is wanted, the video has {float(length):.2f} s")


def _on_screen(path: Path, start: Fraction, may_jump: bool) -> Iterator[tuple[Fraction, Fraction, av.VideoFrame]]:
    """Yield (begin, end, frame): seconds after the first frame between which each frame is shown.

    Frames that were gone before ``start`` may be left out. Only a read from the beginning can prove that the end is
    there, so who wants the end must not jump.
    """
    with open_video(path) as video:
        origin = frame_time(next(every_frame(video)), Fraction(0))
    waiting: tuple[Fraction, Fraction, av.VideoFrame] | None = None
    with open_video(path) as video:
        far = may_jump and start > _SEEK_FROM_S and _can_seek(path, origin + start)
        for frame in frames_from(video, origin + start) if far else every_frame(video):
            begin = frame_time(frame, waiting[1] + origin if waiting else origin) - origin
            if waiting:
                yield waiting[0], begin, waiting[2]
            waiting = (begin, begin + (frame.duration * video.tick or video.frame_duration), frame)
    if waiting:
        yield waiting


def _can_seek(path: Path, time: Fraction) -> bool:
    """Try a jump: files without an index land late, open groups of pictures decode badly after one."""
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
    """Return when a frame is to be shown, seconds on the stream's clock; ``guess`` where the file does not say."""
    return guess if frame.pts is None or frame.time_base is None else frame.pts * Fraction(frame.time_base)
