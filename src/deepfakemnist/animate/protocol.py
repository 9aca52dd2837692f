"""What every animator can do, whichever network is behind it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from deepfakemnist.errors import Failed
from deepfakemnist.tables import atomic_path

State = TypeVar("State")


@dataclass(frozen=True, eq=False)
class Motion:
    """Keypoints of every frame of a driver: computed once, used for thousands of sources.

    Raises: ValueError when the arrays do not fit together.
    """

    value: NDArray[np.float32]
    """(T, K, 2) coordinates (x, y) in -1..1."""
    jacobian: NDArray[np.float32]
    """(T, K, 2, 2)."""

    def __post_init__(self) -> None:
        if self.value.ndim != 3 or self.value.shape[2] != 2 or self.jacobian.shape != (*self.value.shape, 2):
            raise ValueError(
                f"motion has value {self.value.shape} and jacobian {self.jacobian.shape}; "
                "(T, K, 2) and (T, K, 2, 2) are wanted"
            )
        if self.value.dtype != np.float32 or self.jacobian.dtype != np.float32:
            raise ValueError(f"motion is {self.value.dtype} and {self.jacobian.dtype}; float32 is wanted")

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.value)

    def save(self, path: Path | str) -> None:
        """Write an npz file, whole or not at all; the same motion gives the same bytes."""
        with atomic_path(path) as part:
            np.savez(part, value=self.value, jacobian=self.jacobian)

    @classmethod
    def load(cls, path: Path | str) -> Motion:
        """Read what ``save`` wrote. Raises Failed("motion_unreadable") for anything else."""
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls(file["value"], file["jacobian"])
        except Exception as error:  # numpy and zipfile raise a dozen types for a damaged file
            raise Failed("motion_unreadable", f"{path}: {type(error).__name__}: {error}") from error


class Animator(Protocol[State]):
    """Moves the face of a source picture as a driver moves.

    ``State`` is whatever the animator keeps of a source; it is made once and serves every frame of every driver.
    """

    def prepare_driving(self, frames: NDArray[np.uint8]) -> Motion:
        """Return the motion of a driver's frames (T, H, W, 3), RGB."""
        ...

    def prepare_source(self, frame: NDArray[np.uint8]) -> State:
        """Return what is needed of the source picture (H, W, 3), RGB."""
        ...

    def render(self, state: State, motion: Motion) -> Iterator[NDArray[np.uint8]]:
        """Yield one RGB frame (H, W, 3) for each frame of the motion."""
        ...
