"""What a video file is, found by decoding all of it, or all of a segment; there is no need for ffprobe.

A file that cannot be read whole raises; the reasons stand in :mod:`.container`.
"""

from __future__ import annotations

import hashlib
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from deepfakemnist.media.container import bit_depth, open_video
from deepfakemnist.media.decode import shown_frames
from deepfakemnist.media.picture import frame_rotation

#: Steps between frames may differ by this share of the usual one before the rate counts as variable; MKV's
#: milliseconds alone make 33 and 34 ms of 30 frames per second.
_STEP_SPREAD = 0.1


def probe(path: Path | str, start_s: float | None = None, end_s: float | None = None) -> dict[str, Any]:
    """Return the columns of ``tables.INGESTED`` that a file itself tells.

    Keys: codec, pix_fmt, bit_depth, width and height (as stored, before rotation), rotation (degrees to turn the
    stored picture counter-clockwise), fps (frames over duration), variable_rate, duration_s (by frame times), frames,
    bytes, sha256.

    Args:
        path: video file.
        start_s, end_s: segment that is wanted, seconds. With an end only the segment is decoded and told of, since an
            hour of video may be named by hundreds of segments.

    Raises: Failed for a broken file, Rejected for one that is whole but not usable; see :mod:`.container`.
    """
    path = Path(path)
    with open_video(path) as video:
        name, depth = video.stream.codec_context.name, bit_depth(video.stream)
    times: list[Fraction] = []
    for begin, until, frame in shown_frames(path, start_s=start_s, end_s=end_s):
        if not times:
            facts = {"width": frame.width, "height": frame.height, "rotation": frame_rotation(frame)}
            pix_fmt = frame.format.name
        times.append(begin)
        end = until
    duration = end - times[0]
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
