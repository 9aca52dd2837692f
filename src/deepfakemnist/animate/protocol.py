"""Animator protocol: driver motion, encoded source, rendered frames, independent of the network behind it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from deepfakemnist.errors import Failed
from deepfakemnist.tables.checksums import FileFacts
from deepfakemnist.tables.files import atomic_path

State = TypeVar("State")


class MotionArray(NamedTuple):
    """What an animator keeps of every driver frame under one name.

    Args:
        shape: shape for one frame; None for any length.
        dtype: numpy's name of the type.
        required: whether every motion has it.
    """

    shape: tuple[int | None, ...]
    dtype: str = "float32"
    required: bool = True


@dataclass(frozen=True, eq=False)
class Motion:
    """Named arrays with an entry per frame of a driver, computed once and reused for thousands of sources.

    Which ones there are is the animator's affair, see ``AnimatorInfo.motion``: keypoints for one, rotations and
    expressions for another, a latent code for a third.

    Raises: ValueError for arrays of different lengths, none at all, or Python objects instead of numbers.
    """

    arrays: Mapping[str, NDArray[Any]]
    """Name → array (T, ...)."""

    def __post_init__(self) -> None:
        if not self.arrays:
            raise ValueError("a motion needs at least one array")
        for name, array in self.arrays.items():
            if array.ndim == 0 or array.dtype.hasobject:
                raise ValueError(f"motion has {name} {array.shape} {array.dtype}, expected numbers, frames first")
        lengths = {name: len(array) for name, array in self.arrays.items()}
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise ValueError(f"motion has arrays of different numbers of frames: {listed}")

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, name: str, /) -> NDArray[Any]:
        """Return an array. Raises: KeyError."""
        return self.arrays[name]

    def __contains__(self, name: str, /) -> bool:
        """Return whether there is an array of that name."""
        return name in self.arrays

    def check(self, declared: Mapping[str, MotionArray]) -> None:
        """Compare the arrays with those that an animator declares.

        Raises: Failed("motion_mismatch") that says what differs.
        """
        problems = [f"no {name}" for name, array in declared.items() if array.required and name not in self.arrays]
        for name, array in self.arrays.items():
            wanted = declared.get(name)
            if wanted is None:
                problems.append(f"{name}, which is unknown")
            elif not _fits(array, wanted):
                expected = f"{_text_of(wanted.shape)} {wanted.dtype}"
                problems.append(f"{name} {array.shape[1:]} {array.dtype} per frame instead of {expected}")
        if problems:
            raise Failed(
                "motion_mismatch",
                f"the motion has {', '.join(problems)}: it was extracted by another animator, or with other weights "
                "or settings",
            )

    def save(self, path: Path | str) -> FileFacts:
        """Write an npz file atomically and return its size and sha256; equal motions give equal bytes."""
        buffer = BytesIO()
        np.savez(buffer, allow_pickle=False, **{name: self.arrays[name] for name in sorted(self.arrays)})
        with atomic_path(path) as part:
            part.write_bytes(buffer.getbuffer())
        return FileFacts(buffer.tell(), hashlib.sha256(buffer.getbuffer()).hexdigest())

    @classmethod
    def load(cls, path: Path | str) -> Motion:
        """Read a file written by ``save``. Raises Failed("motion_unreadable") for anything else."""
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls({name: file[name] for name in file.files})
        except Exception as error:  # numpy and zipfile raise a dozen types for a damaged file
            raise Failed("motion_unreadable", f"{path}: {type(error).__name__}: {error}") from error


def _fits(array: NDArray[Any], wanted: MotionArray) -> bool:
    shape = array.shape[1:]
    return array.dtype == np.dtype(wanted.dtype) and (
        len(shape) == len(wanted.shape)
        and all(length in (None, found) for length, found in zip(wanted.shape, shape, strict=True))
    )


def _text_of(shape: tuple[int | None, ...]) -> str:
    """Return a shape as Python writes it, with any for None."""
    lengths = ", ".join("any" if length is None else str(length) for length in shape)
    return f"({lengths},)" if len(shape) == 1 else f"({lengths})"


@dataclass(frozen=True)
class AnimatorInfo:
    """Description of an animator, recorded in every row that it produces."""

    name: str
    licence: str
    """Licence of the code and, if known, of the weights."""
    size: int | None
    """Side of the training images, pixels; None for any size."""
    motion: Mapping[str, MotionArray]
    """What its motions consist of; checked when one is extracted, and before one is used."""
    precision: str
    """Numerical precision, e.g. float32, float32+float16 or float32+float16 (float32 in final.conv)."""
    weights_sha256: str | None
    """None for an animator without weights."""
    align_corners: bool | None = None
    """Argument of grid_sample; None where it does not apply."""
    pixels_everywhere: bool = False
    """Whether the same crop and motion give the same pixels on every processor. True needs a test on simulated ones."""
    output_size: int | None = None
    """Side of the rendered frames, pixels; None for that of the source. The stage reduces them to the source's."""
    framing: str = "crop"
    """What of the source is animated: ``crop``, the crop of this run as it is, or a word for the animator's own."""


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
        """Yield one square RGB frame (H, W, 3) of 8 bits for each frame of the motion; see ``output_size``."""
        ...
