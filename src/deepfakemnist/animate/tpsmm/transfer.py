"""Relative motion transfer of the Thin-Plate-Spline Motion Model."""

from __future__ import annotations

from torch import Tensor

from deepfakemnist.animate.fomm.transfer import size_ratio


def relative_motion(source: Tensor, driving: Tensor, start: int) -> Tensor:
    """Move the source's key points (1, K, 2) by the motion of the driver's (T, K, 2) since its start frame.

    Always scaled by the ratio of the two faces' sizes, as the original does. The motion of a frame depends on that
    frame and the start only, so the demo's animation backwards and forwards from the best frame equals this for all
    frames in order. Nothing keeps points inside of -1..1.

    Raises: Failed("flat_keypoints") for collinear key points.
    """
    scale = size_ratio(source[0], driving[start], instead="motion: standard")
    return source + (driving - driving[start]) * scale
