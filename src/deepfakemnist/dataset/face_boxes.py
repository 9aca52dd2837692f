"""Where the face is in a still frame, for those who train on faces alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from deepfakemnist.faces.detect import FaceDetector

Box = tuple[float, float, float, float]


def best_face() -> Callable[[np.ndarray], Box | None]:
    """Return a function from an (H,W,3) uint8 RGB picture to (left, top, width, height) of its surest face, or None."""
    detector = FaceDetector()

    def find(picture: np.ndarray) -> Box | None:
        faces = detector(picture)
        return faces[0].box if faces else None

    return find
