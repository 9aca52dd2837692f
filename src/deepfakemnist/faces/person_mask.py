"""Person mask of a picture, with MediaPipe's selfie segmentation (Google, Apache-2.0)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from deepfakemnist.faces.tflite import Network, bundled

#: selfie_segmentation.tflite, general model, of the package mediapipe 0.10.21.
MODEL_SHA256 = "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c"
_SIZE = 256


class PersonMask:
    """Segments people from the background; single-threaded."""

    def __init__(self) -> None:
        self._network = Network(bundled("selfie_segmentation.tflite", MODEL_SHA256))

    def __call__(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return (H, W) float32, 0..1, how surely a pixel of an (H, W, 3) uint8 RGB picture shows a person."""
        height, width = rgb.shape[:2]
        small = cv2.resize(rgb, (_SIZE, _SIZE), interpolation=cv2.INTER_AREA if width > _SIZE else cv2.INTER_LINEAR)
        (mask,) = self._network(small[None].astype(np.float32) / 255)
        return cv2.resize(mask[0, ..., 0], (width, height), interpolation=cv2.INTER_LINEAR)
