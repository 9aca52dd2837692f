"""What a video file is, found by decoding all of it; there is no need for ffprobe.

A file that cannot be read whole raises; the reasons stand in :mod:`.container`.
"""

from __future__ import annotations

import hashlib
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from deepfakemnist.media.container import bit_depth, every_frame, open_video
from deepfakemnist.media.decode import frame_rotation, frame_time

#: Steps between frames may differ by this share of the usual one before the rate counts as variable; MKV's
#: milliseconds alone make 33 and 34 ms of 30 frames per second.
_STEP_SPREAD = 0.1


def probe(path: Path | str) -> dict[str, Any]:
    """Return the columns of ``tables.INGESTED`` that a file itself tells.

    Keys: codec, pix_fmt, bit_depth, width and height (as stored, before rotation), rotation (degrees to turn the
    stored picture counter-clockwise), fps (frames over duration), variable_rate, duration_s (by frame times), frames,
    bytes, sha256.

    Raises: Failed for a broken file, Rejected for one that is whole but not usable; see :mod:`.container`.
    """
    path = Path(path)
    times: list[Fraction] = []
    with open_video(path) as video:
        codec = video.stream.codec_context
        for frame in every_frame(video):
            if not times:
                facts = {"width": frame.width, "height": frame.height, "rotation": frame_rotation(frame)}
                pix_fmt = frame.format.name
                last = video.frame_duration
            times.append(frame_time(frame, times[-1] + last if times else Fraction(0)))
            last = frame.duration * video.tick or last
        depth = bit_depth(video.stream)
        name = codec.name
    duration = times[-1] - times[0] + last
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "codec": name,
        "pix_fmt": pix_fmt,
        "bit_depth": depth,
        **facts,
        "fps": float(len(times) / duration),
        "variable_rate": _is_uneven(times),
        "duration_s": float(duration),
        "frames": len(times),
        "bytes": path.stat().st_size,
        "sha256": sha256,
    }


def _is_uneven(times: list[Fraction]) -> bool:
    steps = [float(after - before) for before, after in pairwise(times)]
    if not steps:
        return False
    usual = median(steps)
    return any(abs(step - usual) > max(_STEP_SPREAD * usual, 0.0015) for step in steps)
