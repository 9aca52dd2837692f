"""What every animator can do, whichever network is behind it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from deepfakemnist.errors import Failed
from deepfakemnist.tables.files import atomic_path

State = TypeVar("State")


@dataclass(frozen=True, eq=False)
class Motion:
    """Keypoints of every frame of a driver: computed once, used for thousands of sources.

    Raises: ValueError when the arrays do not fit together.
    """

    value: NDArray[np.float32]
    """(T, K, D) coordinates, x and y in -1..1 first."""
    jacobian: NDArray[np.float32] | None = None
    """(T, K, 2, 2) for animators that have one."""
    pose: NDArray[np.float32] | None = None
    """(T, L, 2) facial landmarks in -1..1, by which the best start frame is found; NaN where a frame shows no face."""

    def __post_init__(self) -> None:
        wanted = {"value": (len(self.value), *self.value.shape[1:])}
        if self.value.ndim != 3 or self.value.shape[2] < 2:
            raise ValueError(f"motion has value {self.value.shape}; (T, K, 2 or more) is wanted")
        if self.jacobian is not None:
            wanted["jacobian"] = (*self.value.shape[:2], 2, 2)
        if self.pose is not None:
            wanted["pose"] = (len(self.value), *self.pose.shape[1:2], 2)
        for name, shape in wanted.items():
            array = getattr(self, name)
            if array.shape != shape or array.dtype != np.float32:
                raise ValueError(f"motion has {name} {array.shape} {array.dtype}; {shape} float32 is wanted")

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.value)

    def save(self, path: Path | str) -> None:
        """Write an npz file, whole or not at all; the same motion gives the same bytes."""
        parts = {"value": self.value, "jacobian": self.jacobian, "pose": self.pose}
        with atomic_path(path) as part:
            np.savez(part, allow_pickle=False, **{name: array for name, array in parts.items() if array is not None})

    @classmethod
    def load(cls, path: Path | str) -> Motion:
        """Read what ``save`` wrote. Raises Failed("motion_unreadable") for anything else."""
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls(**{name: file[name] for name in file.files})
        except Exception as error:  # numpy and zipfile raise a dozen types for a damaged file
            raise Failed("motion_unreadable", f"{path}: {type(error).__name__}: {error}") from error


@dataclass(frozen=True)
class AnimatorInfo:
    """What an animator declares of itself; every row of its work carries it."""

    name: str
    licence: str
    """Of the code and, where they are known, of the weights."""
    size: int | None
    """Side of the pictures it was trained on, pixels; None where any size serves."""
    modes: tuple[str, ...]
    """Ways of transferring motion that it knows."""
    precision: str
    """Arithmetic of the pixels, e.g. float32, float32+float16 or float32+float16 (float32 in final.conv)."""
    weights_sha256: str | None
    """None for an animator without weights."""
    align_corners: bool | None = None
    """Convention of grid_sample; None where it does not apply."""
    pixels_everywhere: bool = False
    """The same crop and motion give the same pixels on every processor. True needs a test on simulated ones."""


class Animator(Protocol[State]):
    """Moves the face of a source picture as a driver moves.

    ``State`` is whatever the animator keeps of a source; it is made once and serves every frame of every driver.
    """

    @property
    def info(self) -> AnimatorInfo:
        """What the animator is."""
        ...

    def prepare_driving(self, frames: NDArray[np.uint8]) -> Motion:
        """Return the motion of a driver's frames (T, H, W, 3), RGB."""
        ...

    def prepare_source(self, frame: NDArray[np.uint8]) -> State:
        """Return what is needed of the source picture (H, W, 3), RGB."""
        ...

    def start_of(self, state: State, motion: Motion) -> int:
        """Return the driver frame that relative movement starts from."""
        ...

    def render(self, state: State, motion: Motion) -> Iterator[NDArray[np.uint8]]:
        """Yield one RGB frame (H, W, 3) for each frame of the motion."""
        ...
