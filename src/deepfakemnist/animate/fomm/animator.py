"""Animator based on the First Order Motion Model: batched inference on CPU and CUDA.

It trades memory for speed: large batches, one CUDA graph per batch size, halved batches where memory runs out.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepfakemnist.animate.fomm.checkpoint import LICENCE, load_checkpoint
from deepfakemnist.animate.fomm.cuda import GraphedRender, to_host
from deepfakemnist.animate.fomm.folded_conv import check_reduced_layers
from deepfakemnist.animate.fomm.inference import Precision, arithmetic, optimised
from deepfakemnist.animate.fomm.network import (
    EncodedSource,
    FirstOrderMotionModel,
    Keypoints,
    minimum_size,
    size_multiple,
)
from deepfakemnist.animate.fomm.transfer import relative_motion, size_ratio
from deepfakemnist.animate.protocol import AnimatorInfo, Motion
from deepfakemnist.animate.start_frame import NEUTRALITY, best_start, face_lines, neutral_start, neutrality
from deepfakemnist.animate.weight_files import checkpoint_sha256
from deepfakemnist.config.animator import AnimatorSettings, FommModel, StartFrame
from deepfakemnist.devices.reduced_precision import deterministic_cudnn
from deepfakemnist.devices.torch_device import choose_device
from deepfakemnist.errors import Failed
from deepfakemnist.faces.landmarks import FaceLandmarker

log = logging.getLogger(__name__)

#: Decoded images (uint8, 0..255), or images scaled to 0..1 (float32).
Images = NDArray[np.uint8] | NDArray[np.float32]
Output = TypeVar("Output")

#: Larger batches gain nothing on a CPU. On an H200 a batch of 64 frames of vox-256 is an eighth faster than one of
#: 16 (benchmarks/gpu.json).
_CPU_BATCH, _CUDA_BATCH = 8, 64
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
        networks: the weights; the animator runs an optimised copy, see ``optimised``.
        motion: ``absolute`` uses the driver's keypoints as they are, ``relative`` moves the source's keypoints by the
            motion of the driver's since its start frame.
        adapt_scale: scale relative motion by the ratio of the face sizes; None means yes with ``relative``.
        start_frame: ``first``; ``best``: the frame whose pose is closest to the source's; ``neutral``: the driver's
            most neutral frame.
        precision: ``exact``, ``tf32`` or ``fast``, see ``optimised``.
        batch_size: frames per batch; None is 8 on the CPU and 64 on CUDA. Halved permanently where memory runs out.
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
    ) -> None:
        self.device = choose_device(device)
        self.networks = optimised(networks, precision=precision, device=self.device)
        self.relative = motion == "relative"
        self.adapt_scale = self.relative if adapt_scale is None else adapt_scale
        self.start_frame = start_frame
        self.batch_size = batch_size or (_CUDA_BATCH if self.device.type == "cuda" else _CPU_BATCH)
        self._weights_sha256 = weights_sha256
        self._checked_sizes: set[tuple[int, ...]] = set()
        self._landmarker = FaceLandmarker() if self.relative and start_frame != "first" else None
        self._graphed = GraphedRender(self.networks.generator) if self.device.type == "cuda" else None

    @classmethod
    def from_checkpoint(
        cls, checkpoint: Path | str, settings: AnimatorSettings, *, sha256: str | None = None, device: str = "auto"
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
        )

    @property
    def info(self) -> AnimatorInfo:
        """Description of the animator."""
        return AnimatorInfo(
            name="fomm",
            licence=LICENCE,
            size=_VOX_SIZE if self.networks.settings == FommModel() else None,
            modes=("relative", "absolute"),
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
            found: Keypoints = self.networks.kp_detector(self._tensor(frames[start:stop]))
            return found

        self._check_layers(frames[0])
        parts = list(self._by_batches(len(frames), detect))
        value = torch.cat([part.value for part in parts]).cpu().numpy()
        jacobian = torch.cat([part.jacobian for part in parts]).cpu().numpy()
        if self._landmarker is not None and self.start_frame == "neutral":
            levels = _levels(frames)
            return Motion(value, jacobian, arrays={NEUTRALITY: neutrality(levels, self._landmarker.track(levels))})
        return Motion(value, jacobian, self._poses(frames))

    def prepare_source(self, frame: Images) -> SourceState:
        """Encode the image (H, W, 3), RGB. Raises: Failed("frame_size") for an unsupported size."""
        self._check(frame, dimensions=3)
        poses = self._poses(frame[None])
        self._check_layers(frame)
        with _inference(self.device):
            image = self._tensor(frame[None])
            found = self.networks.kp_detector(image)
            encoded = self.networks.generator.encode(image)
            return SourceState(encoded, found, None if poses is None else poses[0])

    def _check_layers(self, frame: Images) -> None:
        """Validate the reduced-precision layers at the first image (H, W, 3) of each size."""
        if frame.shape in self._checked_sizes:
            return
        with _inference(self.device):
            image = self._tensor(frame[None])
            check_reduced_layers(self.networks.kp_detector, image)
            found = self.networks.kp_detector(image)
            check_reduced_layers(self.networks.generator, image, found, found)
        self._checked_sizes.add(frame.shape)

    def start_of(self, state: SourceState, motion: Motion) -> int:
        """Return the driver frame that relative motion starts from, 0 if there are no faces to compare.

        Raises: Failed("motion_without_pose") for ``best`` if the motion has no poses.
        """
        return self._best_start(state, motion) or 0

    def mouth_from(self, state: SourceState, motion: Motion) -> Literal["source", "driver"]:
        """Return source: a driver gives its motion only."""
        return "source"

    def render(self, state: SourceState, motion: Motion) -> Iterator[NDArray[np.uint8]]:
        """Yield one RGB frame (H, W, 3) for each frame of the motion, rounded to 8 bits.

        Raises: see ``predict``.
        """

        def levels() -> Iterator[tuple[Tensor, ...]]:
            for images in self._batches(state, motion):
                with _inference(self.device):
                    # Half to even, like skimage's img_as_ubyte. Permuted on the device, where it is cheap on a GPU.
                    rounded = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
                    finite = torch.isfinite(images).all()
                yield rounded, finite

        batches = to_host(levels()) if self.device.type == "cuda" else levels()
        done = 0
        for batch, finite in batches:
            _check_finite(bool(finite), done)
            done += len(batch)
            yield from batch.numpy()

    def predict(self, state: SourceState, motion: Motion) -> Iterator[NDArray[np.float32]]:
        """Yield batches of frames (n, H, W, 3) in 0..1, before rounding.

        Raises: Failed("motion_mismatch") when the motion has another number of keypoints,
            Failed("flat_keypoints") when ``adapt_scale`` has no face area to compare,
            Failed("not_finite") when the network outputs NaN or infinity,
            Failed("motion_without_pose"), see ``start_of``,
            MemoryError when not even one frame fits into GPU memory.
        """
        done = 0
        for batch in self._batches(state, motion):
            images = batch.permute(0, 2, 3, 1).cpu().contiguous().numpy()
            _check_finite(bool(np.isfinite(images).all()), done)
            done += len(images)
            yield images

    def _batches(self, state: SourceState, motion: Motion) -> Iterator[Tensor]:
        """Yield (n, 3, H, W) on the device; each batch is valid until the next one is requested."""
        driving = self._driving_keypoints(state, motion)
        yield from self._by_batches(
            len(motion), lambda start, stop: self._generate(state, Keypoints(*(part[start:stop] for part in driving)))
        )

    def _by_batches(self, count: int, process: Callable[[int, int], Output]) -> Iterator[Output]:
        """Yield ``process(start, stop)`` for each batch of frames; halve the batch size where memory runs out."""
        start = 0
        # Inference mode must be off while the caller holds a batch, so it spans single batches instead of the loop.
        while start < count:
            stop = min(start + self.batch_size, count)
            output = None
            try:
                with _inference(self.device):
                    output = process(start, stop)
            except torch.OutOfMemoryError as error:
                if self.batch_size == 1:
                    raise MemoryError(
                        f"not even one frame fits into the memory of {self.device}; use smaller images, a device "
                        "with more memory or device: cpu, and check that no other process occupies it"
                    ) from error
            if output is None:  # outside the handler, because the exception keeps the allocations alive
                self._halve_batch()
                continue
            start = stop
            yield output

    def _driving_keypoints(self, state: SourceState, motion: Motion) -> Keypoints:
        """Return the driving keypoints (T, K, ...) on the device; relative motion is applied to the source's."""
        source = state.keypoints
        if motion.jacobian is None or motion.value.shape[1:] != source.value.shape[1:]:
            jacobians = "" if motion.jacobian is not None else " without jacobians"
            raise Failed(
                "motion_mismatch",
                f"the motion has {motion.value.shape[1]} keypoints{jacobians}, the animator {source.value.shape[1]} "
                "with jacobians: it was extracted with other weights",
            )
        driving = Keypoints(*(torch.from_numpy(part).to(self.device) for part in (motion.value, motion.jacobian)))
        if not self.relative:
            return driving
        start = self._best_start(state, motion)
        if start is None:
            log.warning("no face to compare poses by; relative motion starts from the driver's first frame")
            start = 0
        scale = size_ratio(source.value[0], driving.value[start]) if self.adapt_scale else 1.0
        with _inference(self.device):
            return relative_motion(source, driving, Keypoints(*(part[start : start + 1] for part in driving)), scale)

    def _best_start(self, state: SourceState, motion: Motion) -> int | None:
        if self._landmarker is None:
            return 0
        if self.start_frame == "neutral":
            return neutral_start(motion.arrays)
        if motion.pose is None or state.pose is None:
            missing = "motion" if motion.pose is None else "source"
            raise Failed("motion_without_pose", f"the {missing} has no poses for start_frame: best; prepare it again")
        return best_start(state.pose, motion.pose)

    def _poses(self, frames: Images) -> NDArray[np.float32] | None:
        if self._landmarker is None or self.start_frame != "best":
            return None
        height, width = frames.shape[1:3]
        return np.stack([face_lines(found, width, height) for found in self._landmarker.track(_levels(frames))])

    def _generate(self, state: SourceState, driving: Keypoints) -> Tensor:
        count = len(driving.value)
        if self._graphed is not None:
            # Graphs have fixed shapes, so the last batch of a clip is padded with copies of its last frame.
            missing = padded_batch(count, self.batch_size) - count
            padded = [torch.cat([part, part[-1:].repeat_interleave(missing, 0)]) for part in driving]
            return self._graphed(state.encoded, state.keypoints, Keypoints(*padded))[:count]
        encoded = EncodedSource(*(part.expand(count, -1, -1, -1) for part in state.encoded))
        source = Keypoints(*(part.expand(count, *part.shape[1:]) for part in state.keypoints))
        generator = self.networks.generator
        images: Tensor = generator.decode(encoded, generator.motion(encoded, source, driving))
        return images

    def _halve_batch(self) -> None:
        self.batch_size //= 2
        log.warning("out of memory on %s; continuing with batches of %d frames", self.device, self.batch_size)
        if self._graphed is not None:
            self._graphed.release()
        gc.collect()  # exceptions and the frames of their tracebacks reference each other
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _tensor(self, images: Images) -> Tensor:
        """(T, H, W, 3) → (T, 3, H, W) in 0..1 on the device, channels last in memory."""
        batch = torch.from_numpy(np.ascontiguousarray(images)).to(self.device).permute(0, 3, 1, 2)
        return batch.float() / 255 if batch.dtype == torch.uint8 else batch

    def _check(self, images: Images, dimensions: int) -> None:
        if images.ndim != dimensions or images.shape[-1] != 3 or images.dtype not in (np.uint8, np.float32):
            raise ValueError(
                f"images are {images.dtype} {images.shape}, expected uint8 or float32 with {dimensions} dimensions, "
                "the last being RGB"
            )
        multiple, smallest = size_multiple(self.networks.settings), minimum_size(self.networks.settings)
        height, width = images.shape[-3:-1]
        if height % multiple or width % multiple or min(height, width) < smallest:
            raise Failed(
                "frame_size",
                f"images are {width}×{height}; this network supports sides from {smallest} in multiples of {multiple}",
            )


def _levels(frames: Images) -> NDArray[np.uint8]:
    """Return images as 8-bit levels."""
    return np.asarray(frames if frames.dtype == np.uint8 else np.rint(frames * 255), dtype=np.uint8)


def padded_batch(count: int, batch_size: int) -> int:
    """Return the padded size of a batch of ``count`` frames: few distinct sizes, because each captures a graph."""
    size = min(_SMALLEST_GRAPH, batch_size)
    while size < count:
        size *= 2
    return min(size, batch_size)


def _check_finite(finite: bool, frame: int) -> None:
    if not finite:
        cause = "are the weights damaged? On a GPU, precision: exact has a larger range of values than fast"
        raise Failed("not_finite", f"frames from {frame} on contain NaN or infinity; {cause}")


@contextmanager
def _inference(device: torch.device) -> Iterator[None]:
    """Disable gradients; on CUDA, use deterministic algorithms in full float32 (TF32 keeps 10 bits of mantissa)."""
    with torch.inference_mode(), deterministic_cudnn(tf32=False) if device.type == "cuda" else nullcontext():
        yield
