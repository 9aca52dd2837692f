"""Video decoding to upright RGB frames with square pixels, with segments and resampling to a constant frame rate.

Resampling holds or drops whole frames and never blends them, so every frame is one that the file stores. The order of
frames is the decoder's, and their times ascend: see :func:`_ascending`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from heapq import heappop, heappush
from math import ceil
from pathlib import Path

import av
import numpy as np

from deepfakemnist.errors import Failed, Rejected
from deepfakemnist.media.container import Video, every_frame, frames_from, open_video
from deepfakemnist.media.limits import check_length
from deepfakemnist.media.picture import Picture

#: MKV rounds timestamps to 1 ms; a frame that is this late still counts as on time.
_ROUNDING_S = Fraction(1, 1000)
#: How much of a requested segment may be missing at its end; sheets round to tenths of a second.
_SEGMENT_SLACK_S = Fraction(1, 2)
#: Frames that may come between a frame and the one that has its time: as many as a decoder reorders. H.264 and HEVC
#: allow 16, and fewer of large frames: no level allows more pixels than this (H.264, table A-1, level 6.2).
_MAX_REORDERED, _MAX_REORDERED_PIXELS = 16, 696320 * 256
#: A frame on screen for less than this is never seen; no camera for people is faster than 240 frames per second.
_SHORTEST_S = Fraction(1, 240)
#: Largest fraction of frames without a time on screen.
_MAX_UNSEEN = Fraction(2, 100)
_SET_TIMES = "give it new times first: ffmpeg -i IN -vf setpts=N/FRAME_RATE/TB -c:v libx264 -crf 12 OUT.mp4"
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
    for begin, until, frame in TimedFrames(path, start_s=start_s, end_s=end_s):
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


class TimedFrames:
    """The frames of a segment with their display intervals.

    Args:
        path: video file.
        start_s: start of the segment, seconds after the first frame; None is the beginning.
        end_s: its end, exclusive. Without one the file is read to its end and checked for completeness.

    Attributes:
        video: facts about the file, complete once the frames were read; it is closed then.
    """

    video: Video

    def __init__(self, path: Path | str, *, start_s: float | None = None, end_s: float | None = None) -> None:
        self._path = Path(path)
        self._start, self._end = _segment(start_s, end_s)

    def __iter__(self) -> Iterator[tuple[Fraction, Fraction, av.VideoFrame]]:
        """Yield (begin, until, frame): the display interval in seconds after the file's first frame.

        The first frame may begin before the segment. Raises: as :func:`read_frames`.
        """
        start, end = self._start, self._end
        until, shown = Fraction(0), False
        for begin, until, frame in self._display_intervals():
            check_length(self._path, 0, float(until - start))
            if until > start + _ROUNDING_S and (end is None or begin < end - _ROUNDING_S):
                shown = True
                yield begin, until, frame
            if end is not None and until >= end - _ROUNDING_S:
                break
        if not shown or (end is not None and until < end - _SEGMENT_SLACK_S):
            raise _outside(self._path, start, end, until)

    def _display_intervals(self) -> Iterator[tuple[Fraction, Fraction, av.VideoFrame]]:
        """Yield the frames of the file; those that end before the segment may be left out.

        Only a read from the beginning can prove that the end of the file is there, so a read to the end must not seek.
        """
        origin, seeks = None, False
        if self._end is not None and self._start > _SEEK_FROM_S:
            with open_video(self._path) as video:
                origin, _ = next(_ascending(video, every_frame(video)))
            seeks = _can_seek(self._path, origin + self._start)
        intervals: list[Fraction] = []
        waiting: tuple[Fraction, av.VideoFrame] | None = None
        with open_video(self._path) as self.video:
            frames = frames_from(self.video, (origin or 0) + self._start) if seeks else every_frame(self.video)
            for stamp, frame in _ascending(self.video, frames):
                origin = stamp if origin is None else origin
                time = stamp - origin
                if waiting:
                    intervals.append(time - waiting[0])
                    yield waiting[0], time, waiting[1]
                waiting = (time, frame)
            if waiting:
                time, frame = waiting
                yield time, time + (frame.duration * self.video.tick or self.video.frame_duration), frame
        self._check_intervals(intervals)

    def _check_intervals(self, intervals: list[Fraction]) -> None:
        """Raise when more than a few frames are on screen for no time, so that no frame rate would show them."""
        if not intervals:
            return
        shortest = min(_SHORTEST_S, sum(intervals) / len(intervals) / 4)
        unseen = sum(interval < shortest for interval in intervals)
        if unseen > _MAX_UNSEEN * len(intervals):
            raise Rejected(
                "time_stamps",
                f"{self._path}: {unseen} of {len(intervals) + 1} frames have the time of another; {_SET_TIMES}",
            )


def read_clip(path: Path | str) -> np.ndarray:
    """Return every frame of a short clip as one array, (T,H,W,3) uint8 RGB, checked for completeness.

    Raises: Failed, Rejected with a reason of :mod:`.container`.
    """
    return np.stack(list(read_frames(path)))


def read_frame(path: Path | str, index: int) -> np.ndarray:
    """Return one frame of a working clip, (H,W,3) uint8 RGB, decoding from the keyframe before it on.

    Args:
        path: clip of constant rate whose first frame has time 0, as :mod:`.encode` writes them.
        index: from 0.

    Raises: Failed, Rejected with a reason of :mod:`.container`; IndexError when the clip ends before the frame.
    """
    with open_video(path) as video:
        time = index * video.frame_duration
        for frame in frames_from(video, time):
            if frame_time(frame, time) > time - video.frame_duration / 2:
                return Picture(frame).rgb()
    raise IndexError(f"{path} ends before frame {index}, counted from 0")


def _segment(start_s: float | None, end_s: float | None) -> tuple[Fraction, Fraction | None]:
    start = Fraction(start_s or 0).limit_denominator(10**6)
    end = None if end_s is None else Fraction(end_s).limit_denominator(10**6)
    if start < 0 or (end is not None and end <= start):
        raise ValueError(f"0 <= start_s < end_s is required, not start_s={start_s} end_s={end_s}")
    return start, end


def _outside(path: Path | str, start: Fraction, end: Fraction | None, length: Fraction) -> Rejected:
    segment = f"{float(start):.2f} s to {'the end' if end is None else f'{float(end):.2f} s'}"
    return Rejected("outside_the_video", f"{path}: segment {segment} requested, the video has {float(length):.2f} s")


def _ascending(video: Video, frames: Iterable[av.VideoFrame]) -> Iterator[tuple[Fraction, av.VideoFrame]]:
    """Yield (time, frame) in the decoder's order with ascending times, in stream seconds.

    A decoder returns frames in the order in which they are shown, which the coded pictures state. Containers that store
    only decoding times (AVI, ASF, MP4 without composition times) give the same times to other frames, up to a few
    frames away. So a frame gets the earliest time among the next few, which is its own wherever times are in order.

    Raises: Rejected with reason time_stamps where times step back farther than a decoder reorders frames.
    """
    waiting: deque[av.VideoFrame] = deque()
    times: list[Fraction] = []
    latest, earlier = Fraction(0), False

    def first() -> tuple[Fraction, av.VideoFrame]:
        nonlocal latest, earlier
        time = heappop(times)
        if earlier and time < latest:
            raise Rejected(
                "time_stamps",
                f"{video.path}: the times of its frames step back from {float(latest):.2f} s to {float(time):.2f} s; "
                f"{_SET_TIMES}",
            )
        latest, earlier = time, True
        return time, waiting.popleft()

    guess, broken = Fraction(0), None
    unread = iter(frames)
    while True:
        try:
            frame = next(unread)
        except StopIteration:
            break
        except (Failed, Rejected) as error:  # concerns later frames only, which a segment may not need
            broken = error
            break
        guess = frame_time(frame, guess)
        heappush(times, guess)
        guess += frame.duration * video.tick or video.frame_duration
        waiting.append(frame)
        depth = min(_MAX_REORDERED, _MAX_REORDERED_PIXELS // (frame.width * frame.height))
        if len(waiting) > (depth if video.stream.codec_context.has_b_frames else 0):
            yield first()
    while waiting:
        yield first()
    if broken:
        raise broken


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
