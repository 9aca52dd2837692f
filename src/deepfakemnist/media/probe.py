"""Video file probing by full decode: codec, size, frame rate, frame count and checksum, without ffprobe.

Decoding everything costs more than reading headers, but headers lie: a file that does not decode completely raises
with a reason of :mod:`.container`.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from deepfakemnist.errors import Rejected
from deepfakemnist.media.container import bit_depth, open_video
from deepfakemnist.media.decode import TimedFrames
from deepfakemnist.media.display import frame_orientation
from deepfakemnist.media.picture import Picture
from deepfakemnist.tables.checksums import file_facts

#: Frame intervals may differ from the median by this fraction before the rate counts as variable; MKV's rounding
#: alone turns 30 frames per second into intervals of 33 and 34 ms.
_INTERVAL_TOLERANCE = 0.1
#: Relative difference up to which two frame rates count as equal; 1 % is invisible.
_RATE_TOLERANCE = 0.01


def probe(path: Path | str, start_s: float | None = None, end_s: float | None = None) -> dict[str, Any]:
    """Return the columns of ``tables.INGESTED`` that are read from the file itself.

    Keys: codec, pix_fmt, bit_depth, width and height (as stored), sample_aspect_ratio, rotation (degrees to turn the
    stored picture counter-clockwise), mirrored (left to right, after that), display_width and display_height (upright,
    square pixels), fps (frames / duration), variable_rate, duration_s (from frame times), frames, frames_left_out,
    bytes, sha256.

    Args:
        path: video file.
        start_s, end_s: segment in seconds. With an end, only the segment is decoded and described, since hundreds of
            segments may refer to an hour of video.

    Raises: Failed for a broken file, Rejected for an intact but unusable one; see :mod:`.container`.
    """
    path = Path(path)
    with open_video(path) as video:
        name, depth = video.stream.codec_context.name, bit_depth(video.stream)
    times: list[Fraction] = []
    frames = TimedFrames(path, start_s=start_s, end_s=end_s)
    for begin, until, frame in frames:
        if not times:
            picture, orientation = Picture(frame), frame_orientation(frame)
            facts = {"display_width": picture.width, "display_height": picture.height}
            facts |= {"rotation": orientation.rotation, "mirrored": orientation.mirrored}
        times.append(begin)
        end = until
    stored = frames.video.stored
    assert stored is not None  # a frame was read
    duration = end - times[0]
    return {
        "codec": name,
        "pix_fmt": stored.pix_fmt,
        "bit_depth": depth,
        "width": stored.width,
        "height": stored.height,
        "sample_aspect_ratio": f"{stored.sample_aspect.numerator}:{stored.sample_aspect.denominator}",
        **facts,
        "fps": float(len(times) / duration),
        "variable_rate": _is_variable_rate(times),
        "duration_s": float(duration),
        "frames": len(times),
        "frames_left_out": frames.video.left_out,
        **file_facts(path)._asdict(),
    }


def check_rate(path: Path | str, facts: Mapping[str, Any], fps: float) -> None:
    """Compare the rate of a clip made elsewhere with that of the dataset, which is written at one rate.

    Args:
        path: the clip, for the message.
        facts: what :func:`probe` returned.
        fps: configured rate, frames per second; 1 % more or less counts as equal.

    Raises: Rejected with reason other_rate.
    """
    if facts["variable_rate"] or abs(facts["fps"] - fps) > _RATE_TOLERANCE * fps:
        seen = f"{facts['fps']:.4g} frames per second{', unevenly spaced' if facts['variable_rate'] else ''}"
        raise Rejected("other_rate", f"{path}: {seen}; crop.fps sets {fps:g} for the whole dataset")


def _is_variable_rate(times: list[Fraction]) -> bool:
    intervals = [float(after - before) for before, after in pairwise(times)]
    if not intervals:
        return False
    usual = median(intervals)
    return any(abs(interval - usual) > max(_INTERVAL_TOLERANCE * usual, 0.0015) for interval in intervals)
