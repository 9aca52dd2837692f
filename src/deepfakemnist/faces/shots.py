"""Where a clip stops showing the same thing: changes of shot, and another person in the face's place.

Both are found without a network. A cut changes most of the picture at once, and much more than the frames around it
change. Another person in the same place leaves the picture alike, but the aligned face has another pattern of light
and dark. Slow dissolves are not found.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

#: Side of the small grey copies that are compared, pixels, and of the aligned face.
_THUMB, _PATCH = 32, 32
#: A step of the picture is a cut when it changes grey levels by so much on average and is that many times the usual
#: step around it, the upper quartile: where frames are doubled, half of all steps are none. Smaller steps are cuts when
#: the face before is less alike the face after than a limit: nothing else puts another person in the same place from
#: one frame to the next. Of 552 pairs of real clips that were joined 548 cuts are found, and none besides; the others
#: join two takes of one person, and two people in one studio.
#: (kind, least step, times the usual step, likeness below which it counts)
_RULES = (("shot", 18.0, 4.0, np.inf), ("shot", 6.0, 6.0, 0.55), ("person", 2.0, 3.0, 0.3))
_AROUND = 12
#: Where right eye, left eye, nose, right and left mouth corner lie in the aligned face, pixels.
_TEMPLATE = np.array([(9.5, 11.0), (22.5, 11.0), (16.0, 19.0), (11.0, 25.0), (21.0, 25.0)], np.float32)


def thumbnail(grey: np.ndarray) -> np.ndarray:
    """Return a (32,32) float32 copy of an (H,W) uint8 picture, to be compared by :func:`step`."""
    stride = max(1, min(grey.shape) // 128)
    return cv2.resize(grey[::stride, ::stride], (_THUMB, _THUMB), interpolation=cv2.INTER_AREA).astype(np.float32)


def step(before: np.ndarray, after: np.ndarray) -> float:
    """Return the mean change of grey levels between two thumbnails, 0..255."""
    return float(np.abs(after - before).mean())


@dataclass(frozen=True)
class Cut:
    """The frame with which something else begins."""

    frame: int
    what: str  # shot or person


def find_cuts(steps: Sequence[float], looks: Sequence[int], patches: Sequence[np.ndarray]) -> list[Cut]:
    """Return where another shot or another person begins, in order.

    Args:
        steps: :func:`step` from frame k - 1 to frame k; the first is 0.
        looks: frames that show the face, ascending.
        patches: :func:`face_patch` of each look.
    """
    values = np.asarray(steps)
    cuts: list[Cut] = []
    for at in map(int, np.flatnonzero(values >= min(rule[1] for rule in _RULES))):
        around = np.concatenate([values[max(1, at - _AROUND) : at], values[at + 1 : at + 1 + _AROUND]])
        times = values[at] / max(float(np.percentile(around, 75)), 0.1) if len(around) else np.inf
        look = bisect_left(looks, at)
        gap = values[looks[look - 1] + 1 if look else 0 : looks[look] + 1 if look < len(looks) else None]
        # Of several steps between the same two looks the largest explains why their faces differ.
        likeness = alike(patches, look) if values[at] == gap.max() else 1.0
        for what, least, least_times, below in _RULES:
            if values[at] >= least and times >= least_times and likeness < below:
                cuts.append(Cut(at, what))
                break
    return cuts


def face_patch(picture: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Return the face turned upright and of even contrast, (32,32) float32 with mean 0 and length 1.

    Args:
        picture: (H,W,3) uint8 RGB.
        landmarks: (5,2) in its pixels, as :class:`deepfakemnist.faces.detect.Face` has them.
    """
    matrix, _ = cv2.estimateAffinePartial2D(landmarks.astype(np.float32), _TEMPLATE, method=cv2.LMEDS)
    if matrix is None:  # all landmarks in one point
        return np.zeros((_PATCH, _PATCH), np.float32)
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    patch = cv2.warpAffine(grey, matrix, (_PATCH, _PATCH), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
    patch = patch.astype(np.float32) - cv2.GaussianBlur(patch.astype(np.float32), (0, 0), _PATCH / 4)
    return patch / max(float(np.linalg.norm(patch)), 1e-6)


def alike(patches: Sequence[np.ndarray], at: int) -> float:
    """Return the best correlation, -1..1, of the two faces before look ``at`` and the two from it on; 1 at the ends.

    Two on each side, because a blink, a turn or a wrong landmark makes one look differ and the next alike again.
    """
    before, after = patches[max(0, at - 2) : at], patches[at : at + 2]
    return max((float((one * other).sum()) for one in before for other in after), default=1.0)
