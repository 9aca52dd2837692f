"""Animator based on LivePortrait: batched inference on CUDA, and on the CPU for tests.

Pictures enter at 256 × 256 and leave at 512 × 512. A frame costs 1.2 TFLOP, 14 times one of FOMM: 13 seconds of a CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepfakemnist.animate.batched import Batches, check_images, eight_bits, inference, to_tensor
from deepfakemnist.animate.liveportrait.checkpoint import NAME, Weights
from deepfakemnist.animate.liveportrait.crop import Pasting, crop, face_square
from deepfakemnist.animate.liveportrait.face_motion import FaceMotion
from deepfakemnist.animate.liveportrait.openness import openness_of_faces
from deepfakemnist.animate.liveportrait.transfer import Openness, Transfer, driving_keypoints, keypoints
from deepfakemnist.animate.protocol import AnimatorInfo, Motion, MotionArray
from deepfakemnist.animate.start_frame import START_ARRAYS, StartFrames
from deepfakemnist.config.animators.base import StartFrame
from deepfakemnist.devices.torch_device import choose_device
from deepfakemnist.errors import Failed, Rejected
from deepfakemnist.faces.landmarks import FaceLandmarker, FaceLandmarks

#: Side of the pictures that the authors trained with, pixels.
SIZE = 256
#: Frames per batch. In float32 a frame needs half a gigabyte of working memory (on a CPU).
_CPU_BATCH, _CUDA_BATCH = 1, 8
#: Names of the motion's arrays, in the order of ``FaceMotion``.
_MOTION = ("kp", "exp", "R", "scale", "t")
_EYES, _LIPS = "eye_openness", "lip_openness"
_CODE = "MIT (code: Kuaishou Technology, 2024)"
LICENCE = f"{_CODE}; official weights: MIT by their authors' words in issues #79 and #193 of KwaiVGI/LivePortrait"
_LICENCE_OF_OTHERS = f"{_CODE}; weights: not the authors' files, their own"


@dataclass(frozen=True, eq=False)
class SourceState:
    """A source picture, encoded once."""

    volume: Tensor
    """(1, C, D, h, w) appearance."""
    motion: FaceMotion
    """Of the one picture."""
    openness: Openness | None
    pose: NDArray[np.float32] | None
    """(L, 2) facial landmarks for ``start_frame: best``."""
    pasting: Pasting | None
    """Where frames go with ``framing: official``."""


class LivePortraitAnimator:
    """Animates with LivePortrait's weights; deterministic on a given device and torch version.

    Args:
        weights: networks, which are folded in place, their digest and origin.
        transfer: mode of motion transfer and its corrections.
        start_frame: driver frame that relative motion starts from: ``first``; ``best``: the one whose pose is closest
            to the source's; ``neutral``: the driver's most neutral frame.
        framing: ``crop``: the source as given; ``official``: the original's crop of it, upright and 2.3 times the face,
            whose frames are pasted back.
        precision: ``exact``: float32; ``fast``: float16 autocast on CUDA, the original's own arithmetic there.
        batch_size: frames per batch; None is 1 on the CPU and 8 on CUDA. Halved permanently where memory runs out.
        device: ``auto`` uses CUDA if available.
        size: side of the pictures that the networks see, pixels.
    """

    def __init__(
        self,
        weights: Weights,
        *,
        transfer: Transfer | None = None,
        start_frame: StartFrame = "first",
        framing: Literal["crop", "official"] = "crop",
        precision: Literal["exact", "fast"] = "exact",
        batch_size: int | None = None,
        device: str = "auto",
        size: int = SIZE,
    ) -> None:
        if size % weights.networks.multiple:
            raise ValueError(f"size is {size}, but must be a multiple of {weights.networks.multiple}")
        self.device = choose_device(device)
        self.networks = weights.networks.folded().to(self.device)
        self.transfer = transfer or Transfer()
        self._weights, self._size, self._framing = weights, size, framing
        self._half = precision == "fast" and self.device.type == "cuda"
        self._starts = StartFrames(start_frame if self.transfer.relative else "first")
        needs_landmarks = framing == "official" or self.transfer.needs_openness
        self._landmarker = FaceLandmarker() if needs_landmarks else None
        self._batches = Batches(self.device, batch_size or (_CUDA_BATCH if self.device.type == "cuda" else _CPU_BATCH))

    @property
    def batch_size(self) -> int:
        """Frames per batch, which is halved where memory runs out."""
        return self._batches.size

    @property
    def info(self) -> AnimatorInfo:
        """Description of the animator."""
        points = self.networks.keypoints
        shapes: dict[str, tuple[int, ...]] = {
            "kp": (points, 3),
            "exp": (points, 3),
            "R": (3, 3),
            "scale": (1,),
            "t": (3,),
        }
        retargeting = self.transfer.retargeting
        official = self._framing == "official"
        return AnimatorInfo(
            name=NAME,
            licence=LICENCE if self._weights.official else _LICENCE_OF_OTHERS,
            size=self._size,
            motion={
                **{name: MotionArray(shape) for name, shape in shapes.items()},
                _EYES: MotionArray((2,), required=retargeting),
                _LIPS: MotionArray((1,), required=retargeting),
                **START_ARRAYS,
            },
            precision="float32+float16" if self._half else "float32",
            weights_sha256=self._weights.sha256,
            align_corners=False,
            output_size=None if official else self._size * self.networks.upscale,
            framing=self._framing,
        )

    def prepare_driving(self, frames: NDArray[np.uint8]) -> Motion:
        """Return the motion of the driving frames (T, H, W, 3), RGB, which are taken whole.

        Raises: Failed("no_frames"); Rejected("no_face") if eyes or lips are retargeted and no frame shows a face.
        """
        check_images(frames, dimensions=4)
        if len(frames) == 0:
            raise Failed("no_frames", "the driver has no frame")

        def extract(start: int, stop: int) -> FaceMotion:
            return self._motion(np.stack([self._resized(frame) for frame in frames[start:stop]]))

        parts = list(self._batches.of(len(frames), extract))
        arrays = {name: torch.cat([part[index] for part in parts]).cpu().numpy() for index, name in enumerate(_MOTION)}
        if self.transfer.retargeting and self._landmarker is not None:
            ratios = openness_of_faces(self._landmarker.track(frames))
            arrays |= {_EYES: ratios.eyes, _LIPS: ratios.lips}
        return Motion({**arrays, **self._starts.of_driver(frames)})

    def prepare_source(self, frame: NDArray[np.uint8]) -> SourceState:
        """Encode the picture (H, W, 3), RGB.

        Raises: Rejected("no_face") if its landmarks are needed, and it shows no face.
        """
        check_images(frame, dimensions=3)
        face = self._face(frame)
        pasting, picture = None, frame
        if self._framing == "official" and face is not None:
            side = self._size * self.networks.upscale
            to_crop = face_square(face.points).to_crop(side)
            pasting, picture = Pasting(frame, to_crop, side), crop(frame, to_crop, side)
        openness = None
        if self.transfer.needs_openness:
            ratios = openness_of_faces([face])
            openness = Openness(self._tensor(ratios.eyes), self._tensor(ratios.lips))
        with inference(self.device):
            image = self._resized(picture)[None]
            with self._autocast():
                volume = self.networks.appearance_feature_extractor(to_tensor(image, self.device))
            return SourceState(volume.float(), self._motion(image), openness, self._starts.of_source(frame), pasting)

    def start_of(self, state: SourceState, motion: Motion) -> int:
        """Return the driver frame that relative motion starts from, 0 if there are no faces to compare.

        Raises: Failed("motion_without_pose") for ``best`` if the motion has no poses.
        """
        return self._starts.choose(state.pose, motion)

    def mouth_from(self, state: SourceState, motion: Motion) -> Literal["source"]:
        """Return source: a driver gives its motion only."""
        return "source"

    def render(self, state: SourceState, motion: Motion) -> Iterator[NDArray[np.uint8]]:
        """Yield one RGB frame for each frame of the motion, rounded down to 8 bits as in the original.

        Raises: Failed("motion_mismatch") for a motion of other weights or settings, Failed("not_finite") when the
            networks output NaN or infinity, Failed("motion_without_pose"), see ``start_of``, MemoryError when not even
            one frame fits into GPU memory.
        """
        for frame in eight_bits(self._rendered(state, motion), self.device, rounding="down"):
            yield frame if state.pasting is None else state.pasting(frame)

    def _rendered(self, state: SourceState, motion: Motion) -> Iterator[Tensor]:
        """Yield (n, 3, H, W) on the device; each batch is valid until the next one is requested."""
        motion.check(self.info.motion)
        driving = FaceMotion(*(self._tensor(motion[name]) for name in _MOTION))
        driver_openness = None
        if self.transfer.retargeting:
            driver_openness = Openness(self._tensor(motion[_EYES]), self._tensor(motion[_LIPS]))
        with inference(self.device):
            moved = driving_keypoints(
                state.motion,
                driving,
                self.start_of(state, motion),
                self.transfer,
                self.networks.retargeters,
                state.openness,
                driver_openness,
            )
            still = keypoints(state.motion)
        yield from self._batches.of(len(moved), lambda start, stop: self._generate(state, still, moved[start:stop]))

    def _generate(self, state: SourceState, still: Tensor, moved: Tensor) -> Tensor:
        count = len(moved)
        with self._autocast():
            volume = state.volume.expand(count, -1, -1, -1, -1)
            warped = self.networks.warping_module(volume, still.expand(count, -1, -1), moved)
            images: Tensor = self.networks.spade_generator(warped)
        return images

    def _motion(self, images: NDArray[np.uint8]) -> FaceMotion:
        with self._autocast():
            found: FaceMotion = self.networks.motion_extractor(to_tensor(images, self.device))
        return found

    def _face(self, frame: NDArray[np.uint8]) -> FaceLandmarks | None:
        if self._landmarker is None:
            return None
        face = self._landmarker(frame)
        if face is None:
            raise Rejected(
                "no_face", "no landmarks of a face in the source frame, which this framing or retargeting needs"
            )
        return face

    def _resized(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a picture (H, W, 3) at the size that the networks see."""
        if image.shape[:2] == (self._size, self._size):
            return image
        reduces = min(image.shape[:2]) >= self._size
        interpolation = cv2.INTER_AREA if reduces else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(image, (self._size, self._size), interpolation=interpolation))

    def _tensor(self, array: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(array).to(self.device)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.float16, enabled=self._half)
