"""Animator based on the Thin-Plate-Spline Motion Model: batched inference on CPU and CUDA.

A source is encoded once and the key points of a driver are found once, where the original repeats the former for every
frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepfakemnist.animate.batched import (
    Batches,
    Images,
    check_images,
    eight_bits,
    inference,
    to_levels,
    to_tensor,
    unrounded,
)
from deepfakemnist.animate.fomm.folded_conv import check_reduced_layers
from deepfakemnist.animate.fomm.inference import arithmetic_of
from deepfakemnist.animate.protocol import AnimatorInfo, Motion, MotionArray
from deepfakemnist.animate.start_frame import START_ARRAYS, StartFrames
from deepfakemnist.animate.tpsmm.checkpoint import LICENCE, load_checkpoint
from deepfakemnist.animate.tpsmm.inference import optimised
from deepfakemnist.animate.tpsmm.network import Architecture, EncodedSource, ThinPlateSplineMotionModel
from deepfakemnist.animate.tpsmm.transfer import relative_motion
from deepfakemnist.animate.weight_files import checkpoint_sha256
from deepfakemnist.config.animators.base import Precision, StartFrame
from deepfakemnist.config.animators.tpsmm import TpsmmSettings
from deepfakemnist.devices.torch_device import choose_device
from deepfakemnist.errors import ConfigError, Failed

_CUDA_BATCH = 32
_VOX_SIZE = 256  # training image size of the official vox weights


@dataclass(frozen=True, eq=False)
class SourceState:
    """A source image, encoded once."""

    encoded: EncodedSource
    keypoints: Tensor
    """(1, K, 2)."""
    pose: NDArray[np.float32] | None = None
    """(L, 2) facial landmarks for ``start_frame: best``; NaN when the image shows no face."""


class TpsmmAnimator:
    """Animates with TPSMM weights; deterministic on a given device and torch version.

    Layers that ``tf32`` and ``fast`` run in reduced precision on CUDA are compared with float32 at the first source of
    each image size, see ``check_reduced_layers``; ``info`` gives the precision in use.

    Args:
        networks: the weights; the animator runs an optimised copy, see ``optimised``.
        motion: ``standard`` uses the driver's key points as they are; ``relative`` moves the source's key points by the
            motion of the driver's since its start frame, scaled by the ratio of the face sizes; ``avd`` takes the
            driver's pose and the source's shape, by a network of its own.
        start_frame: of relative motion. ``first``; ``best``: the frame whose pose is closest to the source's;
            ``neutral``: the driver's most neutral frame.
        precision: ``exact``, ``tf32`` or ``fast``, see ``optimised``.
        batch_size: frames per batch; None is one per thread on the CPU and 32 on CUDA. Halved permanently where memory
            runs out.
        device: ``auto`` uses CUDA if available.
        weights_sha256: checksum of the weight file, for ``info``.

    Raises: ConfigError for ``avd`` with weights that lack its network.
    """

    def __init__(
        self,
        networks: ThinPlateSplineMotionModel,
        *,
        motion: Literal["standard", "relative", "avd"] = "relative",
        start_frame: StartFrame = "first",
        precision: Precision = "exact",
        batch_size: int | None = None,
        device: str = "auto",
        weights_sha256: str | None = None,
    ) -> None:
        if motion == "avd" and networks.avd_network is None:
            raise ConfigError(
                "motion: avd needs weights with the network avd_network, which these lack; use motion: relative or "
                "standard, or the official vox.pth.tar"
            )
        self.device = choose_device(device)
        self.networks = optimised(networks, precision=precision, device=self.device)
        self.motion = motion
        self._weights_sha256 = weights_sha256
        self._checked_sizes: set[tuple[int, ...]] = set()
        self._starts = StartFrames(start_frame if motion == "relative" else "first")
        # More frames on a CPU leave the cache sooner: 1.14 s a frame of vox-256 at 1, 1.19 at 2 and 1.28 at 8.
        default = _CUDA_BATCH if self.device.type == "cuda" else torch.get_num_threads()
        self._batches = Batches(self.device, batch_size or default)

    @classmethod
    def from_checkpoint(cls, checkpoint: Path | str, settings: TpsmmSettings, *, device: str = "auto") -> TpsmmAnimator:
        """Load the weights and verify the digest in the settings. Raises ConfigError, see ``load_checkpoint``."""
        return cls(
            load_checkpoint(checkpoint, settings.weights_sha256),
            motion=settings.motion,
            start_frame=settings.starts_from,
            precision=settings.precision,
            batch_size=None if settings.batch_size == "auto" else settings.batch_size,
            device=device,
            weights_sha256=settings.weights_sha256 or checkpoint_sha256(checkpoint),
        )

    @property
    def batch_size(self) -> int:
        """Frames per batch, which is halved where memory runs out."""
        return self._batches.size

    @property
    def info(self) -> AnimatorInfo:
        """Description of the animator."""
        architecture = self.networks.architecture
        return AnimatorInfo(
            name="tpsmm",
            licence=LICENCE,
            size=_VOX_SIZE if architecture == Architecture(avd=architecture.avd) else None,
            motion={"value": MotionArray((architecture.num_kp, 2)), **START_ARRAYS},
            precision=arithmetic_of(self.networks.inpainting_network),
            weights_sha256=self._weights_sha256,
            align_corners=True,
        )

    def prepare_driving(self, frames: Images) -> Motion:
        """Return the key points of the driving frames (T, H, W, 3), RGB; with their poses or neutrality if the start
        frame is chosen by them.

        Raises: Failed("frame_size") for image sizes that the network does not support, Failed("no_frames").
        """
        self._check(frames, dimensions=4)
        if len(frames) == 0:
            raise Failed("no_frames", "the driver has no frame")

        def detect(start: int, stop: int) -> Tensor:
            found: Tensor = self.networks.kp_detector(to_tensor(frames[start:stop], self.device))
            return found

        value = torch.cat(list(self._batches.of(len(frames), detect))).cpu().numpy()
        return Motion({"value": value, **self._starts.of_driver(to_levels(frames))})

    def prepare_source(self, frame: Images) -> SourceState:
        """Encode the image (H, W, 3), RGB. Raises: Failed("frame_size") for an unsupported size."""
        self._check(frame, dimensions=3)
        with inference(self.device):
            image = to_tensor(frame[None], self.device)
            found = self.networks.kp_detector(image)
            encoded = self.networks.encode(image, found)
            if frame.shape not in self._checked_sizes:
                check_reduced_layers(self.networks, encoded, found, found)
                self._checked_sizes.add(frame.shape)
            return SourceState(encoded, found, self._starts.of_source(to_levels(frame)))

    def start_of(self, state: SourceState, motion: Motion) -> int:
        """Return the driver frame that relative motion starts from, 0 if there are no faces to compare.

        Raises: Failed("motion_without_pose") for ``best`` if the motion has no poses.
        """
        return self._starts.choose(state.pose, motion)

    def mouth_from(self, state: SourceState, motion: Motion) -> Literal["source", "driver"]:
        """Return source: a driver gives its motion only."""
        return "source"

    def render(self, state: SourceState, motion: Motion) -> Iterator[NDArray[np.uint8]]:
        """Yield one RGB frame (H, W, 3) for each frame of the motion, rounded to 8 bits.

        Raises: see ``predict``.
        """
        yield from eight_bits(self._rendered(state, motion), self.device)

    def predict(self, state: SourceState, motion: Motion) -> Iterator[NDArray[np.float32]]:
        """Yield batches of frames (n, H, W, 3) in 0..1, before rounding.

        Raises: Failed("motion_mismatch") when the motion has another number of key points,
            Failed("flat_keypoints") when relative motion has no face area to compare,
            Failed("not_finite") when the network outputs NaN or infinity,
            Failed("motion_without_pose"), see ``start_of``,
            MemoryError when not even one frame fits into GPU memory.
        """
        yield from unrounded(self._rendered(state, motion))

    def _rendered(self, state: SourceState, motion: Motion) -> Iterator[Tensor]:
        """Yield (n, 3, H, W) on the device; each batch is valid until the next one is requested."""
        driving = self._driving_keypoints(state, motion)

        def generate(start: int, stop: int) -> Tensor:
            points = driving[start:stop]
            encoded = state.encoded.repeated(len(points))
            images: Tensor = self.networks(encoded, state.keypoints.expand(len(points), -1, -1), points)
            return images

        yield from self._batches.of(len(motion), generate)

    def _driving_keypoints(self, state: SourceState, motion: Motion) -> Tensor:
        """Return the driving key points (T, K, 2) on the device, transferred to the source."""
        motion.check(self.info.motion)
        driving = torch.from_numpy(motion["value"]).to(self.device)
        with inference(self.device):
            if self.motion == "relative":
                return relative_motion(state.keypoints, driving, self.start_of(state, motion))
            if self.motion == "avd":
                assert self.networks.avd_network is not None
                transferred: Tensor = self.networks.avd_network(state.keypoints, driving)
                return transferred
        return driving

    def _check(self, images: Images, dimensions: int) -> None:
        multiple = self.networks.architecture.size_multiple
        check_images(images, dimensions, multiple=multiple, smallest=multiple)
