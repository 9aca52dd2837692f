"""How a driver's keypoints become the source's: FOMM's relative motion."""

from __future__ import annotations

import numpy as np
from scipy.spatial import ConvexHull, QhullError
from torch import Tensor

from deepfakemnist.animate.fomm.network import Keypoints, invert_2x2
from deepfakemnist.errors import Failed


def relative_motion(source: Keypoints, driving: Keypoints, first: Keypoints, scale: float) -> Keypoints:
    """Move the source's keypoints (1, K, ...) by what the driver's (T, K, ...) moved since ``first`` (1, K, ...).

    ``normalize_kp`` of demo.py with ``relative``. A frame's movement depends on that frame and ``first`` only, so the
    demo's animation backwards and forwards from the best frame is this, for all frames in their order.

    Args:
        source: keypoints of the picture that is animated.
        driving: keypoints of the driver's frames.
        first: those of the frame that movement starts from.
        scale: factor of the keypoints' movement; jacobians are not scaled.
    """
    value = source.value + (driving.value - first.value) * scale
    return Keypoints(value, driving.jacobian @ invert_2x2(first.jacobian) @ source.jacobian)


def size_ratio(source: Tensor, driver: Tensor) -> float:
    """Return how large the source's face is compared with the driver's: the root of the ratio of their hulls' areas.

    Args:
        source: (K, 2) keypoints.
        driver: (K, 2) keypoints of the frame that movement starts from.

    Raises: Failed("flat_keypoints") where either's keypoints lie on a line.
    """
    try:
        # In two dimensions scipy calls the area a volume.
        source_area, driver_area = (ConvexHull(points.cpu().numpy()).volume for points in (source, driver))
    except QhullError as error:
        raise Failed(
            "flat_keypoints", "the keypoints lie on a line, so faces cannot be compared in size; use adapt_scale: false"
        ) from error
    return float(np.sqrt(source_area) / np.sqrt(driver_area))
