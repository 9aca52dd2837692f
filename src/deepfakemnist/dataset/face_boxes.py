"""Face boxes of still frames, for detectors trained on face crops."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from deepfakemnist.faces.detect import FaceDetector

Box = tuple[float, float, float, float]


def best_face() -> Callable[[np.ndarray], Box | None]:
    """Return a function that gives the highest-scoring face of an (H,W,3) uint8 RGB picture.

    The function returns (left, top, width, height), or None without a face.
    """
    detector = FaceDetector()

    def find(picture: np.ndarray) -> Box | None:
        faces = detector(picture)
        return faces[0].box if faces else None

    return find
