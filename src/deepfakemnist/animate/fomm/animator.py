"""Animator based on the First Order Motion Model: batched inference on CPU and CUDA.

It trades memory for speed: large batches, one CUDA graph per batch size, halved batches where memory runs out.
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
from deepfakemnist.animate.fomm.checkpoint import LICENCE, load_checkpoint
from deepfakemnist.animate.fomm.cuda import GraphedRender
from deepfakemnist.animate.fomm.folded_conv import check_reduced_layers
from deepfakemnist.animate.fomm.inference import arithmetic, optimised
from deepfakemnist.animate.fomm.network import (
    EncodedSource,
    FirstOrderMotionModel,
    Keypoints,
    minimum_size,
    size_multiple,
)
from deepfakemnist.animate.fomm.transfer import relative_motion, size_ratio
from deepfakemnist.animate.protocol import AnimatorInfo, Motion, MotionArray
from deepfakemnist.animate.start_frame import START_ARRAYS, StartFrames
from deepfakemnist.animate.weight_files import checkpoint_sha256
from deepfakemnist.config.animators.base import Precision, StartFrame
from deepfakemnist.config.animators.fomm import FommModel, FommSettings
from deepfakemnist.devices.torch_device import choose_device
from deepfakemnist.errors import Failed

#: On a CPU 2 frames of vox-256 are as fast as 8, in 300 MB less. On an H200 a batch of 64 is an eighth faster than one
#: of 16 (benchmarks/gpu.json).
_CPU_BATCH, _CUDA_BATCH = 2, 64
_SMALLEST_GRAPH = 8
_VOX_SIZE = 256  # training image size of the official weights


@dataclass(frozen=True, eq=False)
class SourceState:
    """A source image, encoded once."""

    encoded: EncodedSource
    keypoints: Keypoints
    pose: NDArray[np.float32] | None = None
    """(L, 2) facial landmarks for ``start_frame: best``; NaN when the image shows no face."""


class FommAnimator:
    """Animates with FOMM weights; deterministic on a given device and torch version.

    Layers that ``tf32`` and ``fast`` run in reduced precision on CUDA are compared with float32 at the first source of
    each image size, see ``check_reduced_layers``; ``info`` gives the precision in use.

    Args:
        networks: the weights; the animator runs an optimised copy, see ``optimised``, or with ``consume`` themselves.
        motion: ``absolute`` uses the driver's keypoints as they are, ``relative`` moves the source's keypoints by the
            motion of the driver's since its start frame.
        adapt_scale: scale relative motion by the ratio of the face sizes; None means yes with ``relative``.
        start_frame: ``first``; ``best``: the frame whose pose is closest to the source's; ``neutral``: the driver's
            most neutral frame.
        precision: ``exact``, ``tf32`` or ``fast``, see ``optimised``.
        batch_size: frames per batch; None is 2 on the CPU and 64 on CUDA. Halved permanently where memory runs out.
        device: ``auto`` uses CUDA if available.
        weights_sha256: checksum of the weight file, for ``info``.
    """

    def __init__(
        self,
        networks: FirstOrderMotionModel,
        *,
        motion: Literal["relative", "absolute"] = "relative",
        adapt_scale: bool | None = None,
        start_frame: StartFrame = "first",
        precision: Precision = "exact",
        batch_size: int | None = None,
        device: str = "auto",
        weights_sha256: str | None = None,
        consume: bool = False,
    ) -> None:
        self.device = choose_device(device)
        self.networks = optimised(networks, precision=precision, device=self.device, consume=consume)
        self.relative = motion == "relative"
        self.adapt_scale = self.relative if adapt_scale is None else adapt_scale
        self._weights_sha256 = weights_sha256
        self._checked_sizes: set[tuple[int, ...]] = set()
        self._starts = StartFrames(start_frame if self.relative else "first")
        self._graphed = GraphedRender(self.networks.generator) if self.device.type == "cuda" else None
        size = batch_size or (_CUDA_BATCH if self.device.type == "cuda" else _CPU_BATCH)
        self._batches = Batches(self.device, size, self._graphed.release if self._graphed else None)

    @classmethod
    def from_checkpoint(
        cls, checkpoint: Path | str, settings: FommSettings, *, sha256: str | None = None, device: str = "auto"
    ) -> FommAnimator:
        """Load the weights and verify ``sha256`` if given. Raises ConfigError, see ``load_checkpoint``."""
        networks = load_checkpoint(checkpoint, settings.model, sha256, align_corners=settings.align_corners)
        return cls(
            networks,
            motion=settings.motion,
            adapt_scale=settings.scales_motion,
            start_frame=settings.starts_from,
            precision=settings.precision,
            batch_size=None if settings.batch_size == "auto" else settings.batch_size,
            device=device,
            weights_sha256=sha256 or checkpoint_sha256(checkpoint),
            consume=True,
        )

    @property
    def batch_size(self) -> int:
        """Frames per batch, which is halved where memory runs out."""
        return self._batches.size

    @property
    def info(self) -> AnimatorInfo:
        """Description of the animator."""
        count = self.networks.settings.num_kp
        return AnimatorInfo(
            name="fomm",
            licence=LICENCE,
            size=_VOX_SIZE if self.networks.settings == FommModel() else None,
            motion={
                "value": MotionArray((count, 2)),
                "jacobian": MotionArray((count, 2, 2)),
                **START_ARRAYS,
            },
            precision=arithmetic(self.networks),
            weights_sha256=self._weights_sha256,
            align_corners=self.networks.generator.align_corners,
        )

    def prepare_driving(self, frames: Images) -> Motion:
        """Return the keypoints of the driving frames (T, H, W, 3), RGB; with their poses or neutrality if the
        start frame is chosen by them.

        Raises: Failed("frame_size") for image sizes that the network does not support, Failed("no_frames").
        """
        self._check(frames, dimensions=4)
        if len(frames) == 0:
            raise Failed("no_frames", "the driver has no frame")

        def detect(start: int, stop: int) -> Keypoints:
            found: Keypoints = self.networks.kp_detector(to_tensor(frames[start:stop], self.device))
            return found

        self._check_layers(frames[0])
        parts = list(self._batches.of(len(frames), detect))
        return Motion(
            {
                "value": torch.cat([part.value for part in parts]).cpu().numpy(),
                "jacobian": torch.cat([part.jacobian for part in parts]).cpu().numpy(),
                **self._starts.of_driver(to_levels(frames)),
            }
        )

    def prepare_source(self, frame: Images) -> SourceState:
        """Encode the image (H, W, 3), RGB. Raises: Failed("frame_size") for an unsupported size."""
        self._check(frame, dimensions=3)
        self._check_layers(frame)
        with inference(self.device):
            image = to_tensor(frame[None], self.device)
            found = self.networks.kp_detector(image)
            return SourceState(self.networks.generator.encode(image), found, self._starts.of_source(to_levels(frame)))

    def _check_layers(self, frame: Images) -> None:
        """Validate the reduced-precision layers at the first image (H, W, 3) of each size."""
        if frame.shape in self._checked_sizes:
            return
        with inference(self.device):
            image = to_tensor(frame[None], self.device)
            check_reduced_layers(self.networks.kp_detector, image)
            found = self.networks.kp_detector(image)
            check_reduced_layers(self.networks.generator, image, found, found)
        self._checked_sizes.add(frame.shape)

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

        Raises: Failed("motion_mismatch") when the motion has another number of keypoints,
            Failed("flat_keypoints") when ``adapt_scale`` has no face area to compare,
            Failed("not_finite") when the network outputs NaN or infinity,
            Failed("motion_without_pose"), see ``start_of``,
            MemoryError when not even one frame fits into GPU memory.
        """
        yield from unrounded(self._rendered(state, motion))

    def _rendered(self, state: SourceState, motion: Motion) -> Iterator[Tensor]:
        """Yield (n, 3, H, W) on the device; each batch is valid until the next one is requested."""
        driving = self._driving_keypoints(state, motion)
        yield from self._batches.of(
            len(motion), lambda start, stop: self._generate(state, Keypoints(*(part[start:stop] for part in driving)))
        )

    def _driving_keypoints(self, state: SourceState, motion: Motion) -> Keypoints:
        """Return the driving keypoints (T, K, ...) on the device; relative motion is applied to the source's."""
        motion.check(self.info.motion)
        source = state.keypoints
        driving = Keypoints(*(torch.from_numpy(motion[name]).to(self.device) for name in ("value", "jacobian")))
        if not self.relative:
            return driving
        start = self.start_of(state, motion)
        scale = size_ratio(source.value[0], driving.value[start]) if self.adapt_scale else 1.0
        with inference(self.device):
            return relative_motion(source, driving, Keypoints(*(part[start : start + 1] for part in driving)), scale)

    def _generate(self, state: SourceState, driving: Keypoints) -> Tensor:
        count = len(driving.value)
        if self._graphed is not None:
            # Graphs have fixed shapes, so the last batch of a clip is padded with copies of its last frame.
            missing = padded_batch(count, self._batches.size) - count
            padded = [torch.cat([part, part[-1:].repeat_interleave(missing, 0)]) for part in driving]
            return self._graphed(state.encoded, state.keypoints, Keypoints(*padded))[:count]
        encoded = EncodedSource(*(part.expand(count, -1, -1, -1) for part in state.encoded))
        source = Keypoints(*(part.expand(count, *part.shape[1:]) for part in state.keypoints))
        generator = self.networks.generator
        images: Tensor = generator.decode(encoded, generator.motion(encoded, source, driving))
        return images

    def _check(self, images: Images, dimensions: int) -> None:
        model = self.networks.settings
        check_images(images, dimensions, multiple=size_multiple(model), smallest=minimum_size(model))


def padded_batch(count: int, batch_size: int) -> int:
    """Return the padded size of a batch of ``count`` frames: few distinct sizes, because each captures a graph."""
    size = min(_SMALLEST_GRAPH, batch_size)
    while size < count:
        size *= 2
    return min(size, batch_size)
