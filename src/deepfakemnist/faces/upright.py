"""Upside-down and sideways faces, recognised by the face detector's score on turned pictures.

YuNet finds turned faces, too, with landmarks as if they were upright, so head pose shows nothing. But it is surer of an
upright face: on 24 real clips its mean score was 0.04 to 0.37 lower upside down, and 0.07 to 0.65 lower sideways; blur,
darkness and JPEG artefacts mostly widen the gap (measured).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deepfakemnist.errors import Rejected
from deepfakemnist.faces.detect import Face, FaceDetector

#: Half of the smallest gap between the average scores of upright and turned faces.
_MIN_GAIN = 0.02
#: No sideways face of those clips had a higher score.
_NEVER_SIDEWAYS = 0.9
#: Name of each quarter turn, counter-clockwise, that a turned face needs, and ffmpeg's filter for it.
_TURNS = {1: ("sideways", "transpose=cclock"), 2: ("upside_down", "hflip,vflip"), 3: ("sideways", "transpose=clock")}


def is_checked(sample: int) -> bool:
    """Return whether to check the orientation in a sampled frame, numbered from 0: often enough for a short video."""
    return sample in (0, 3, 15) or sample % 64 == 63


def turned_scores(detector: FaceDetector, picture: np.ndarray, faces: Sequence[Face]) -> np.ndarray:
    """Return the best face score, 0..1, of an (H,W,3) uint8 RGB picture after 0 to 3 quarter turns, (4,) float64.

    A turn is counter-clockwise; 0 where no face was found. ``faces`` are those of the picture as it is, best first;
    when the detector is too sure of them for sideways faces, only half a turn is tried.
    """
    scores = np.zeros(4)
    scores[0] = faces[0].score if faces else 0.0
    for turns in (2,) if scores[0] > _NEVER_SIDEWAYS else (1, 2, 3):
        found = detector(np.ascontiguousarray(np.rot90(picture, turns)))
        scores[turns] = found[0].score if found else 0.0
    return scores


def check_upright(scores: Sequence[np.ndarray]) -> None:
    """Check that faces are upright.

    Args:
        scores: :func:`turned_scores` of several pictures; those without any face say nothing.

    Raises: Rejected with reason upside_down or sideways.
    """
    seen = [turns for turns in scores if turns.any()]
    if not seen:
        return
    gains = np.median([turns - turns[0] for turns in seen], axis=0)
    best = int(np.argmax(gains))
    if gains[best] < _MIN_GAIN:
        return
    reason, turn = _TURNS[best]
    before, after = np.median(np.stack(seen)[:, [0, best]], axis=0)
    raise Rejected(
        reason,
        f"the face is upright when the picture is turned by {90 * best} degrees counter-clockwise (detector score "
        f"{after:.2f}, as it is {before:.2f}); turn it first: ffmpeg -i IN -vf {turn} -c:v libx264 -crf 12 OUT.mp4",
    )
