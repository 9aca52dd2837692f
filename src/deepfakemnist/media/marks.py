"""Synthetic-media marks: a plain comment tag in the container and a signed C2PA manifest.

They tell people and platforms that a file is synthetic. They lie outside the coded stream, which stays byte for byte
the same, so a detector trained on decoded frames, as in this project, cannot see them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer

from deepfakemnist.config.dataset import MarkSettings
from deepfakemnist.errors import Failed
from deepfakemnist.media.boxes import set_comment
from deepfakemnist.media.container import INPUT_OPTIONS
from deepfakemnist.media.credentials import SOURCE_TYPE, read_credentials, sign
from deepfakemnist.tables.files import atomic_path

#: First words of the comment in every synthetic file of this project.
NOTICE = "Synthetic video: this event never happened."


@dataclass(frozen=True)
class Stream:
    """Hash and size of a coded video stream, independent of its container."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Marks:
    """The synthetic-media marks found in a file."""

    comment: str
    credentials: dict[str, Any] | None

    @property
    def synthetic(self) -> bool:
        """Whether either mark says that a model generated the video."""
        signed = bool(self.credentials) and self.credentials["source_type"] == SOURCE_TYPE  # type: ignore[index]
        return self.comment.startswith(NOTICE) or signed

    @property
    def names(self) -> str:
        """The marks present, comma-separated: comment, c2pa."""
        present = {"comment": self.comment.startswith(NOTICE), "c2pa": self.credentials is not None}
        return ",".join(name for name, found in present.items() if found)


def mark_synthetic(path: Path, settings: MarkSettings, software: str) -> None:
    """Mark an MP4 file as synthetic, atomically; its coded stream stays the same.

    Args:
        path: file to mark.
        settings: which marks to write, and the signer.
        software: what generated the video, e.g. the animator's name; part of both marks.

    Raises: Failed with reason mark_differs when the coded stream changed; ConfigError when signing fails.
    """
    before = coded_stream(path)
    with atomic_path(path) as part:
        part.write_bytes(path.read_bytes())
        if settings.comment:
            # Before signing: the signature covers it.
            set_comment(part, f"{NOTICE} Face animated by {software}; {SOURCE_TYPE}")
        if settings.c2pa:
            with atomic_path(part) as signed:
                sign(part, signed, settings, software)
        after = coded_stream(part)
        if after != before:
            raise Failed(
                "mark_differs", f"{path}: the coded stream changed, {after.bytes} bytes instead of {before.bytes}"
            )


def read_marks(path: Path, c2pa: bool = True) -> Marks:
    """Return the marks of a file.

    Args:
        path: MP4 file.
        c2pa: also look for a C2PA manifest, which needs the package c2pa-python.

    Raises: Failed with reason not_a_video or bad_credentials.
    """
    with _opened(path) as container:
        comment = container.metadata.get("comment", "")
    return Marks(comment, read_credentials(path) if c2pa else None)


def coded_stream(path: Path) -> Stream:
    """Return hash, timestamps included, and size of the coded stream, without decoding.

    Raises: Failed with reason not_a_video.
    """
    digest, size = hashlib.sha256(), 0
    with _opened(path) as container:
        for packet in container.demux(video=0):
            data = bytes(packet)
            digest.update(f"{packet.pts},{packet.dts},{len(data)};".encode())
            digest.update(data)
            size += len(data)
    return Stream(digest.hexdigest(), size)


@contextmanager
def _opened(path: Path) -> Iterator[InputContainer]:
    """Open a file for reading without decoding; playlists, which would open other files, are refused."""
    try:
        with av.open(str(path.absolute()), options=INPUT_OPTIONS, metadata_errors="replace") as container:
            yield container
    except (av.FFmpegError, ValueError) as error:
        if isinstance(error, MemoryError):
            raise
        raise Failed("not_a_video", f"{path}: cannot be read: {getattr(error, 'strerror', error)}") from error
