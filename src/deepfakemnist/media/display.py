"""Display matrix of a decoded frame: the rotation and mirroring that make it upright.

Phones store pictures as the sensor sees them, and front cameras may store them mirrored; the display matrix says how to
show them. Its scaling and translation do not matter here: containers turn scaling into a sample aspect ratio.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import atan2, degrees, radians, tan
from typing import Any, NamedTuple

import av
import numpy as np
from av.sidedata.sidedata import SideDataContainer, Type

from deepfakemnist.errors import Rejected

#: Largest deviation from a multiple of 90 degrees; ffmpeg's autorotate allows as much.
_MAX_SKEW = tan(radians(1))


class Orientation(NamedTuple):
    """Transposition of a stored picture, and reversal of its columns and rows after that."""

    transposed: bool
    columns_reversed: bool
    rows_reversed: bool

    @property
    def rotation(self) -> int:
        """Counter-clockwise rotation that makes the picture upright, degrees: 0, 90, 180 or 270."""
        if self.transposed:
            return 90 if self.rows_reversed else 270
        return 180 if self.rows_reversed else 0

    @property
    def mirrored(self) -> bool:
        """Whether the rotated picture is mirrored left to right as well."""
        return self.transposed ^ self.columns_reversed ^ self.rows_reversed

    def upright(self, picture: np.ndarray) -> np.ndarray:
        """Return a stored picture, (H,W,...), upright and contiguous."""
        if self.transposed:
            picture = picture.swapaxes(0, 1)
        down, across = -1 if self.rows_reversed else 1, -1 if self.columns_reversed else 1
        return np.ascontiguousarray(picture[::down, ::across])


#: A picture that is stored upright.
UPRIGHT = Orientation(False, False, False)


def frame_orientation(frame: av.VideoFrame) -> Orientation:
    """Return how a frame is to be shown.

    Raises: Rejected with reason rotation when its display matrix is not one of the eight of whole quarter turns.
    """
    matrix = _matrix(frame)
    if matrix is None:
        return UPRIGHT
    # ISO/IEC 14496-12, 8.2.2: x' = a x + c y, y' = b x + d y, with x to the right and y down.
    a, b, c, d = matrix
    if a * d == b * c:  # nothing could be shown: players ignore such a matrix
        return UPRIGHT
    transposed = abs(b * c) > abs(a * d)
    (x, x_skew), (y, y_skew) = ((c, a), (b, d)) if transposed else ((a, c), (d, b))
    if abs(x_skew) > _MAX_SKEW * abs(x) or abs(y_skew) > _MAX_SKEW * abs(y):
        raise Rejected(
            "rotation",
            f"display rotation is {-degrees(atan2(b, a)):.0f} degrees; only multiples of 90 are supported",
        )
    return Orientation(transposed, x < 0, y < 0)


def _matrix(frame: av.VideoFrame) -> tuple[int, int, int, int] | None:
    """Return a, b, c and d of a frame's display matrix, in units of 1/65536; None where it has none."""
    try:
        # frame.side_data would keep a reference to the frame and be kept by it: such a circle stays in memory, with the
        # picture, until Python looks for circles, which hundreds of pictures may take.
        kinds: Mapping[Any, Any] = SideDataContainer(frame)  # type: ignore[call-arg]  # unknown to its stub
        data = kinds.get(Type.DISPLAYMATRIX)
    except ValueError:  # PyAV does not know another kind of the frame's side data, and then gives none of it
        turn = radians(frame.rotation)
        cos, sin = round(np.cos(turn) * 65536), round(np.sin(turn) * 65536)
        return cos, -sin, sin, cos
    if data is None:
        return None
    values = np.frombuffer(bytes(data), np.int32)
    return int(values[0]), int(values[1]), int(values[3]), int(values[4])
