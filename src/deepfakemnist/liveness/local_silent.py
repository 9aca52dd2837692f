"""Local passive liveness: the MiniFASNet ensemble of Silent-Face-Anti-Spoofing, without an API.

It detects presentation attacks by print and by screen replay. It is not meant to detect generated faces, so a deepfake
can pass it.
"""

from __future__ import annotations

import hashlib
import io

import cv2
import numpy as np
import torch

from deepfakemnist.config.base import WeightFile
from deepfakemnist.config.liveness import LocalSilentSettings
from deepfakemnist.devices.tensor_files import UnreadableTensors, load_tensors
from deepfakemnist.errors import ConfigError
from deepfakemnist.faces.detect import FaceDetector
from deepfakemnist.liveness.minifasnet import INPUT_SIZE, LIVE, V1SE, V2, MiniFASNet, Widths, load_state
from deepfakemnist.liveness.protocol import SILENT, Clip, Verdict
from deepfakemnist.liveness.upload import evenly_spaced

#: Expansion of the face box for each network, as in the names of the weight files.
SCALE_V2, SCALE_V1SE = 2.7, 4.0

Box = tuple[float, float, float, float]


class LocalSilent:
    """Mean P(live) of both networks over evenly spaced frames; a frame without a face counts as 0."""

    name = "local-silent"

    def __init__(self, settings: LocalSilentSettings) -> None:
        """Load both networks. Raises ConfigError if a file is missing or its sha256 differs."""
        self.settings = settings
        self.nets = [
            (SCALE_V2, load_net(settings.minifasnet_v2, V2, "minifasnet_v2")),
            (SCALE_V1SE, load_net(settings.minifasnet_v1se, V1SE, "minifasnet_v1se")),
        ]
        self.version = f"{settings.minifasnet_v2.sha256}+{settings.minifasnet_v1se.sha256}"
        self._detector = FaceDetector()

    def asked_motion(self, action: str) -> str:
        """Return SILENT: the networks score single frames, whatever the action."""
        return SILENT

    def check(self, clip: Clip, action: str) -> Verdict:
        """Score a clip on ``settings.frames`` of its frames, or on all if it has fewer."""
        indices = evenly_spaced(len(clip.frames), self.settings.frames)
        scores = [self._score(clip.frames[index]) for index in indices]
        missing = [index for index, score in zip(indices, scores, strict=True) if score is None]
        mean = float(np.mean([score or 0.0 for score in scores]))
        evidence = {
            "frames": indices,
            "p_live": [None if score is None else round(score, 6) for score in scores],
            "frames_without_face": missing,
        }
        if len(missing) == len(indices):
            evidence["reason"] = "no_face"
        return Verdict(mean >= self.settings.threshold and mean > 0, mean, self.settings.threshold, evidence)

    def _score(self, frame: np.ndarray) -> float | None:
        """Return the mean P(live) of both networks for the best face of a frame; None without a face."""
        faces = self._detector(frame)
        if not faces:
            return None
        with torch.inference_mode():
            probabilities = [
                net(as_input(enlarged_crop(frame, faces[0].box, scale))).softmax(1)[0, LIVE] for scale, net in self.nets
            ]
        return float(torch.stack(probabilities).mean())


def enlarged_crop(image: np.ndarray, box: Box, scale: float) -> np.ndarray:
    """Crop a face with its context, as in the training of the networks.

    The box (x, y, width, height) is expanded by ``scale`` about its centre, by less if it would exceed the image, and
    then shifted inside. Nothing is padded: a synthetic border looks like the edge of a print.

    Args:
        image: (H, W, 3).
        box: face box in pixels of ``image``; may extend beyond it.
        scale: target expansion.

    Returns: a view of ``image``, at least one pixel on a side.
    """
    height, width = image.shape[:2]
    x, y, box_width, box_height = box
    scale = min(scale, (width - 1) / box_width, (height - 1) / box_height)
    left, right = _place(x + box_width / 2, box_width * scale, width)
    top, bottom = _place(y + box_height / 2, box_height * scale, height)
    return image[top : bottom + 1, left : right + 1]


def _place(centre: float, length: float, limit: int) -> tuple[int, int]:
    """Return first and last pixel of a span about ``centre``, shifted into 0..limit-1."""
    start = min(max(centre - length / 2, 0.0), limit - 1 - length)
    return max(int(start), 0), min(int(start + length), limit - 1)


def as_input(crop: np.ndarray) -> torch.Tensor:
    """Convert an RGB crop to the network input: (1, 3, 80, 80) float32, BGR, 0–255."""
    resized = cv2.resize(crop, (INPUT_SIZE, INPUT_SIZE), interpolation=cv2.INTER_LINEAR)
    return torch.from_numpy(np.ascontiguousarray(resized[:, :, ::-1])).permute(2, 0, 1)[None].float()


def load_net(file: WeightFile, widths: Widths, key: str) -> MiniFASNet:
    """Load one network after verifying the sha256 of its weights.

    Raises:
        ConfigError: the file is missing, has another sha256, or holds another network.
    """
    help_text = (
        "Download it from the repository minivision-ai/Silent-Face-Anti-Spoofing, folder resources/anti_spoof_models "
        "(Apache-2.0), or remove local-silent from liveness.providers."
    )
    try:
        data = file.path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{key}.path: cannot read {file.path} ({error.strerror}). {help_text}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != file.sha256:
        raise ConfigError(f"{key}.sha256: {file.path} has sha256 {found}, expected {file.sha256}. {help_text}")
    try:
        return load_state(MiniFASNet(widths), load_tensors(io.BytesIO(data)))
    except (UnreadableTensors, RuntimeError, AttributeError, TypeError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(
            f"{key}.path: {file.path} does not hold this network's weights: {first}. {help_text}"
        ) from error
