"""Relative motion transfer of FOMM: the driver's keypoint motion applied to the source's keypoints."""

from __future__ import annotations

import numpy as np
from scipy.spatial import ConvexHull, QhullError
from torch import Tensor

from deepfakemnist.animate.fomm.network import Keypoints, invert_2x2
from deepfakemnist.errors import Failed


def relative_motion(source: Keypoints, driving: Keypoints, first: Keypoints, scale: float) -> Keypoints:
    """Move the source keypoints (1, K, ...) by the motion of the driving ones (T, K, ...) since ``first`` (1, K, ...).

    ``normalize_kp`` of demo.py with ``relative``. The motion of a frame depends on that frame and ``first`` only, so
    the demo's animation backwards and forwards from the best frame equals this for all frames in order.

    Args:
        source: keypoints of the source image.
        driving: keypoints of the driving frames.
        first: keypoints of the start frame.
        scale: factor of the keypoint motion; jacobians are not scaled.
    """
    value = source.value + (driving.value - first.value) * scale
    return Keypoints(value, driving.jacobian @ invert_2x2(first.jacobian) @ source.jacobian)


def size_ratio(source: Tensor, driver: Tensor, instead: str = "adapt_scale: false") -> float:
    """Return the size of the source's face relative to the driver's: root of the ratio of their convex hulls' areas.

    Args:
        source: (K, 2) keypoints.
        driver: (K, 2) keypoints of the start frame.
        instead: setting that needs no sizes, for the message.

    Raises: Failed("flat_keypoints") for collinear keypoints.
    """
    try:
        # In two dimensions scipy calls the area a volume.
        source_area, driver_area = (ConvexHull(points.cpu().numpy()).volume for points in (source, driver))
    except QhullError as error:
        raise Failed(
            "flat_keypoints", f"the keypoints are collinear, so face sizes cannot be compared; use {instead}"
        ) from error
    return float(np.sqrt(source_area) / np.sqrt(driver_area))
