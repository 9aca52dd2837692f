"""Animator protocol: driver motion, encoded source, rendered frames, independent of the network behind it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from deepfakemnist.errors import Failed
from deepfakemnist.tables.checksums import FileFacts
from deepfakemnist.tables.files import atomic_path

State = TypeVar("State")

#: Prefix of ``Motion.arrays`` in a file.
_EXTRA = "array."


@dataclass(frozen=True, eq=False)
class Motion:
    """Keypoints of every frame of a driver, computed once and reused for thousands of sources.

    Raises: ValueError for inconsistent shapes or types.
    """

    value: NDArray[np.float32]
    """(T, K, D) coordinates, x and y in -1..1 first."""
    jacobian: NDArray[np.float32] | None = None
    """(T, K, 2, 2); None for animators without jacobians."""
    pose: NDArray[np.float32] | None = None
    """(T, L, 2) facial landmarks in -1..1, used to find the best start frame; NaN for frames without a face."""
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """What else an animator needs of every frame: name → array (T, ...)."""

    def __post_init__(self) -> None:
        expected = {"value": (len(self.value), *self.value.shape[1:])}
        if self.value.ndim != 3 or self.value.shape[2] < 2:
            raise ValueError(f"motion has value {self.value.shape}, expected (T, K, 2 or more)")
        if self.jacobian is not None:
            expected["jacobian"] = (*self.value.shape[:2], 2, 2)
        if self.pose is not None:
            expected["pose"] = (len(self.value), *self.pose.shape[1:2], 2)
        for name, shape in expected.items():
            array = getattr(self, name)
            if array.shape != shape or array.dtype != np.float32:
                raise ValueError(f"motion has {name} {array.shape} {array.dtype}, expected {shape} float32")
        for name, array in self.arrays.items():
            if len(array) != len(self.value) or array.dtype.hasobject:
                raise ValueError(
                    f"motion has {name} {array.shape} {array.dtype}, expected numbers for {len(self)} frames"
                )

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.value)

    def save(self, path: Path | str) -> FileFacts:
        """Write an npz file atomically and return its size and sha256; equal motions give equal bytes."""
        parts = {"value": self.value, "jacobian": self.jacobian, "pose": self.pose}
        parts |= {f"{_EXTRA}{name}": self.arrays[name] for name in sorted(self.arrays)}
        buffer = BytesIO()
        np.savez(buffer, allow_pickle=False, **{name: array for name, array in parts.items() if array is not None})
        with atomic_path(path) as part:
            part.write_bytes(buffer.getbuffer())
        return FileFacts(buffer.tell(), hashlib.sha256(buffer.getbuffer()).hexdigest())

    @classmethod
    def load(cls, path: Path | str) -> Motion:
        """Read a file written by ``save``. Raises Failed("motion_unreadable") for anything else."""
        try:
            with np.load(path, allow_pickle=False) as file:
                parts = {name: file[name] for name in file.files}
            arrays = {name.removeprefix(_EXTRA): parts.pop(name) for name in list(parts) if name.startswith(_EXTRA)}
            return cls(**parts, arrays=arrays)
        except Exception as error:  # numpy and zipfile raise a dozen types for a damaged file
            raise Failed("motion_unreadable", f"{path}: {type(error).__name__}: {error}") from error


@dataclass(frozen=True)
class AnimatorInfo:
    """Description of an animator, recorded in every row that it produces."""

    name: str
    licence: str
    """Licence of the code and, if known, of the weights."""
    size: int | None
    """Side of the training images, pixels; None for any size."""
    modes: tuple[str, ...]
    """Supported modes of motion transfer."""
    precision: str
    """Numerical precision, e.g. float32, float32+float16 or float32+float16 (float32 in final.conv)."""
    weights_sha256: str | None
    """None for an animator without weights."""
    align_corners: bool | None = None
    """Argument of grid_sample; None where it does not apply."""
    pixels_everywhere: bool = False
    """Whether the same crop and motion give the same pixels on every processor. True needs a test on simulated ones."""


class Animator(Protocol[State]):
    """Transfers the motion of a driver to the face of a source image.

    ``State`` holds what the animator needs of a source; it is computed once and reused for every frame of every driver.
    """

    @property
    def info(self) -> AnimatorInfo:
        """Description of the animator."""
        ...

    def prepare_driving(self, frames: NDArray[np.uint8]) -> Motion:
        """Return the motion of the driving frames (T, H, W, 3), RGB."""
        ...

    def prepare_source(self, frame: NDArray[np.uint8]) -> State:
        """Encode the source image (H, W, 3), RGB."""
        ...

    def start_of(self, state: State, motion: Motion) -> int:
        """Return the driver frame that relative motion starts from."""
        ...

    def mouth_from(self, state: State, motion: Motion) -> Literal["source", "driver", "synthetic"]:
        """Return whose pixels the inside of the mouth shows: the source's own or generated from them, or the driver's.

        It matters to detectors, and to people who have agreed to be a driver only.
        """
        ...

    def render(self, state: State, motion: Motion) -> Iterator[NDArray[np.uint8]]:
        """Yield one RGB frame (H, W, 3) for each frame of the motion."""
        ...
