"""Traces of how a clip was made: frozen start, repeated frames, a start equal to the source, padded borders.

Nothing that a face does causes them, so they must not depend on the class. They survive every encode, which is why they
are measured at the best quality alone, where an encoder's skipped blocks do not hide or imitate them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from deepfakemnist.dataset.file_facts import Fact
from deepfakemnist.media.decode import read_frames
from deepfakemnist.tables.schemas import Row

#: Side in pixels of the luma pictures that are compared.
_SIDE = 64
#: Mean difference in levels up to which a frame repeats the one before it. A still face in front of a camera stays
#: above it, by the noise of the sensor.
_REPEATED = 0.02
#: The same for the first frame and a frame of the source, and for a border and its neighbour; more, because a warp by
#: nothing rounds.
_EQUAL = 0.3
#: That many frames after its first one, a real is compared with itself.
_APART = 5


@dataclass(frozen=True)
class SmallClip:
    """A clip at low resolution."""

    luma: NDArray[np.float32]  # (T, 64, 64), 0..255
    padding: float  # border rows and columns equal to their neighbours, as a share of the side


def traces_of_source(real: Row | None, fakes: Sequence[Row]) -> Iterator[tuple[Row, dict[str, Fact]]]:
    """Yield the traces of a real and of the fakes made from it, by their rows of tables.VIDEOS.

    Facts: ``frozen start`` and ``repeated frames``, shares of the clip's frames; ``equal start``, 1 where the first
    frame is a frame of the source; ``padding``, share of the side; ``distance to source``, levels between the first
    frame and the nearest frame of the source; ``start sharpness``, see :func:`start_sharpness`. What compares with the
    source is NaN where there is no real, or where it is too short.
    """
    source = small_clip(Path(real["path"])) if real is not None else None
    for row in [*([real] if real is not None else []), *fakes]:
        clip = source if source is not None and row is real else small_clip(Path(row["path"]))
        steps = np.abs(np.diff(clip.luma, axis=0)).mean((1, 2)) if len(clip.luma) > 1 else np.ones(1)
        still = steps < _REPEATED
        distance = float("nan") if source is None else _distance(clip, source, skip=row is real)
        yield (
            row,
            {
                "frozen start": float(still.argmin() if not still.all() else len(still)) / len(still),
                "repeated frames": float(still.mean()),
                "equal start": distance if np.isnan(distance) else float(distance < _EQUAL),
                "padding": clip.padding,
                "distance to source": distance,
                "start sharpness": start_sharpness(clip.luma),
            },
        )


def small_clip(path: Path) -> SmallClip:
    """Decode a clip. Raises: see :mod:`deepfakemnist.media.decode`."""
    luma: list[NDArray[np.float32]] = []
    padding = 0.0
    for frame in read_frames(path):
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        if not luma:
            padding = _padding(grey)
        luma.append(cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32))
    return SmallClip(np.stack(luma), padding)


def start_sharpness(luma: NDArray[np.float32]) -> float:
    """Return the sharpness of the first frame relative to the median of all: above 1 where a fake starts as a copy."""
    sharp = [float(cv2.Laplacian(one, cv2.CV_32F).var()) for one in luma]
    return sharp[0] / max(float(np.median(sharp)), 1e-6)


def _distance(clip: SmallClip, source: SmallClip, skip: bool) -> float:
    """Return the mean difference in levels of the first frame from the nearest frame of the source."""
    frames = source.luma
    if skip:
        frames = frames[_APART:]
    return float(np.abs(frames - clip.luma[0]).mean((1, 2)).min()) if len(frames) else float("nan")


def _padding(grey: NDArray[Any]) -> float:
    """Return the share of the side that is padding: rows or columns from an edge that equal their neighbours."""
    values = grey.astype(np.int16)
    count = 0
    for turned in (values, values[::-1], values.T, values.T[::-1]):
        equal = np.abs(np.diff(turned[: len(turned) // 2], axis=0)).mean(1) < _EQUAL
        count = max(count, int(equal.argmin()) if not equal.all() else len(equal))
    return count / grey.shape[0]
