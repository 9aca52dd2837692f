"""The First Order Motion Model as an ``Animator``."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError
from torch import Tensor

from deepfakemnist.animate.checkpoint import load_checkpoint
from deepfakemnist.animate.network import (
    EncodedSource,
    FirstOrderMotionModel,
    Keypoints,
    choose_device,
    minimum_size,
    size_multiple,
)
from deepfakemnist.animate.protocol import Motion
from deepfakemnist.errors import Failed
from deepfakemnist.settings import AnimatorSettings

log = logging.getLogger(__name__)

MotionMode = Literal["absolute", "relative", "relative-adapt"]
#: Pictures as files give them (uint8, 0..255), or already scaled to 0..1 (float32).
Pictures = NDArray[np.uint8] | NDArray[np.float32]

#: Arithmetic of the whole network.
PRECISION = "float32"


@dataclass(frozen=True, eq=False)
class SourceState:
    """A source picture, encoded once."""

    encoded: EncodedSource
    keypoints: Keypoints


class FommAnimator:
    """Animates with FOMM weights; deterministic on one device and torch version.

    Args:
        networks: the weights; they are moved to the device and set to evaluation.
        motion: ``absolute`` takes the driver's keypoints as they are, ``relative`` moves the source's keypoints by what
            the driver's moved since its first frame, ``relative-adapt`` scales that by the sizes of the two faces.
        batch_size: frames rendered at once.
        device: ``auto`` takes CUDA where there is one.
    """

    def __init__(
        self,
        networks: FirstOrderMotionModel,
        *,
        motion: MotionMode = "relative-adapt",
        batch_size: int = 8,
        device: str = "auto",
    ) -> None:
        self.device = choose_device(device)
        self.networks = networks.to(self.device).eval()
        self.motion_mode = motion
        self.batch_size = batch_size

    @classmethod
    def from_checkpoint(
        cls, checkpoint: Path | str, settings: AnimatorSettings, *, sha256: str | None = None, device: str = "auto"
    ) -> FommAnimator:
        """Load the weights and follow the settings. Raises ConfigError, see ``load_checkpoint``."""
        networks = load_checkpoint(checkpoint, settings.model, sha256, align_corners=settings.align_corners)
        return cls(networks, motion=settings.motion, batch_size=settings.batch_size, device=device)

    def prepare_driving(self, frames: Pictures) -> Motion:
        """Return the keypoints of a driver's frames (T, H, W, 3), RGB.

        Raises: Failed("frame_size") for pictures the network cannot take, Failed("no_frames") for none.
        """
        self._check(frames, dimensions=4)
        if len(frames) == 0:
            raise Failed("no_frames", "the driver has no frame")
        with _inference(self.device):
            parts = [
                self.networks.kp_detector(self._tensor(frames[start : start + self.batch_size]))
                for start in range(0, len(frames), self.batch_size)
            ]
        value = torch.cat([part.value for part in parts]).cpu().numpy()
        return Motion(value, torch.cat([part.jacobian for part in parts]).cpu().numpy())

    def prepare_source(self, frame: Pictures) -> SourceState:
        """Encode the picture (H, W, 3), RGB. Raises: Failed("frame_size") for one the network cannot take."""
        self._check(frame, dimensions=3)
        with _inference(self.device):
            picture = self._tensor(frame[None])
            return SourceState(self.networks.generator.encode(picture), self.networks.kp_detector(picture))

    def render(self, state: SourceState, motion: Motion) -> Iterator[NDArray[np.uint8]]:
        """Yield one RGB frame (H, W, 3) for each frame of the motion, rounded to the nearest of 256 levels.

        Raises: see ``predict``.
        """
        for batch in self.predict(state, motion):
            yield from np.rint(batch * 255).astype(np.uint8)  # what skimage's img_as_ubyte does

    def predict(self, state: SourceState, motion: Motion) -> Iterator[NDArray[np.float32]]:
        """Yield batches of frames (n, H, W, 3) in 0..1, before rounding.

        Raises: Failed("motion_mismatch") when the motion was made with another number of keypoints,
            Failed("flat_keypoints") when ``relative-adapt`` finds no face area to compare,
            Failed("not_finite") when the network gives NaN or infinity,
            MemoryError when the GPU's memory is too small for ``batch_size``.
        """
        source = state.keypoints
        if motion.value.shape[1] != source.value.shape[1]:
            raise Failed(
                "motion_mismatch",
                f"the motion has {motion.value.shape[1]} keypoints, the animator {source.value.shape[1]}: "
                "it was made with other weights",
            )
        scale = _adapted_scale(source, motion) if self.motion_mode == "relative-adapt" else 1.0
        # Inference mode must not stay on while the caller has the batch, so it spans one batch and not the loop.
        for start in range(0, len(motion), self.batch_size):
            with _inference(self.device):
                driving = self._keypoints(motion, slice(start, start + self.batch_size))
                if self.motion_mode != "absolute":
                    driving = _relative(source, driving, self._keypoints(motion, slice(0, 1)), scale)
                prediction = self._generate(state, driving)
            if not np.isfinite(prediction).all():
                raise Failed("not_finite", f"frames from {start} on hold NaN or infinity; are the weights damaged?")
            yield prediction

    def _generate(self, state: SourceState, driving: Keypoints) -> NDArray[np.float32]:
        count = len(driving.value)
        encoded = EncodedSource(*(part.expand(count, -1, -1, -1) for part in state.encoded))
        source = Keypoints(
            state.keypoints.value.expand(count, -1, -1), state.keypoints.jacobian.expand(count, -1, -1, -1)
        )
        generator = self.networks.generator
        try:
            prediction: Tensor = generator.decode(encoded, generator.motion(encoded, source, driving))
            pictures: NDArray[np.float32] = prediction.permute(0, 2, 3, 1).cpu().numpy()
        except torch.OutOfMemoryError as error:
            raise MemoryError(
                f"{count} frames at once do not fit on {self.device}; lower animator.batch_size"
            ) from error
        return pictures

    def _keypoints(self, motion: Motion, which: slice) -> Keypoints:
        return Keypoints(
            torch.from_numpy(motion.value[which]).to(self.device),
            torch.from_numpy(motion.jacobian[which]).to(self.device),
        )

    def _tensor(self, pictures: Pictures) -> Tensor:
        """(T, H, W, 3) → (T, 3, H, W) in 0..1 on the device."""
        batch = torch.from_numpy(np.ascontiguousarray(pictures)).to(self.device).permute(0, 3, 1, 2)
        return (batch.float() / 255 if batch.dtype == torch.uint8 else batch).contiguous()

    def _check(self, pictures: Pictures, dimensions: int) -> None:
        if pictures.ndim != dimensions or pictures.shape[-1] != 3 or pictures.dtype not in (np.uint8, np.float32):
            raise ValueError(
                f"pictures are {pictures.dtype} {pictures.shape}; uint8 or float32 with {dimensions} dimensions, "
                "the last being RGB, are wanted"
            )
        multiple, smallest = size_multiple(self.networks.settings), minimum_size(self.networks.settings)
        height, width = pictures.shape[-3:-1]
        if height % multiple or width % multiple or min(height, width) < smallest:
            raise Failed(
                "frame_size",
                f"pictures are {width}×{height}; this network takes sides from {smallest} in multiples of {multiple}",
            )


def _relative(source: Keypoints, driving: Keypoints, first: Keypoints, scale: float) -> Keypoints:
    """Move the source's keypoints by what the driver's moved since its first frame (``normalize_kp`` of demo.py)."""
    value = source.value + (driving.value - first.value) * scale
    return Keypoints(value, driving.jacobian @ torch.linalg.inv(first.jacobian) @ source.jacobian)


def _adapted_scale(source: Keypoints, motion: Motion) -> float:
    """Return the ratio of face sizes, source to driver's first frame, by the areas of the keypoints' convex hulls."""
    try:
        # In two dimensions scipy calls the area a volume.
        source_area = ConvexHull(source.value[0].cpu().numpy()).volume
        driver_area = ConvexHull(motion.value[0]).volume
    except QhullError as error:
        raise Failed(
            "flat_keypoints", "the keypoints lie on a line, so faces cannot be compared in size; use motion: relative"
        ) from error
    return float(np.sqrt(source_area) / np.sqrt(driver_area))


@contextmanager
def _inference(device: torch.device) -> Iterator[None]:
    """No gradients; on CUDA only deterministic algorithms, in full float32 (TF32 keeps 10 bits of the mantissa)."""
    with torch.inference_mode():
        if device.type == "cuda":
            with torch.backends.cudnn.flags(
                enabled=True, benchmark=False, deterministic=True, allow_tf32=False, fp32_precision="ieee"
            ):
                yield
        else:
            yield
