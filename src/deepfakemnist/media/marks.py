"""Marks of synthetic video: a plain comment in the container, and a signed C2PA manifest.

They say to people and to platforms what a file is. They lie beside the coded pictures, which stay byte for byte what
they were; whoever trains on decoded pictures, as this project does, cannot see them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av

from deepfakemnist.config.dataset import MarkSettings
from deepfakemnist.errors import Failed
from deepfakemnist.media.boxes import set_comment
from deepfakemnist.media.credentials import SOURCE_TYPE, read_credentials, sign
from deepfakemnist.tables.files import atomic_path

#: Begins the comment of every synthetic file of this project.
NOTICE = "Synthetic video: this event never happened."


@dataclass(frozen=True)
class Stream:
    """The coded pictures of a file, whatever container they are in."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Marks:
    """What a file says of itself."""

    comment: str
    credentials: dict[str, Any] | None

    @property
    def synthetic(self) -> bool:
        """Does either mark say that a model made the pictures?"""
        signed = bool(self.credentials) and self.credentials["source_type"] == SOURCE_TYPE  # type: ignore[index]
        return self.comment.startswith(NOTICE) or signed

    @property
    def names(self) -> str:
        """The marks that are there, comma-separated: comment, c2pa."""
        found = {"comment": self.comment.startswith(NOTICE), "c2pa": self.credentials is not None}
        return ",".join(name for name, there in found.items() if there)


def mark_synthetic(path: Path, settings: MarkSettings, software: str) -> None:
    """Mark an MP4 file as synthetic; the file is replaced, its coded pictures are not.

    Args:
        path: file to mark.
        settings: which marks, and who signs.
        software: what made the pictures, e.g. the animator's name; part of both marks.

    Raises: Failed with reason mark_differs when the marked file holds other coded pictures; ConfigError when the
        certificate does not sign.
    """
    before = coded_stream(path)
    with atomic_path(path) as part:
        part.write_bytes(path.read_bytes())
        if settings.comment:
            # First: the signature covers it.
            set_comment(part, f"{NOTICE} Face animated by {software}; {SOURCE_TYPE}")
        if settings.c2pa:
            with atomic_path(part) as signed:
                sign(part, signed, settings, software)
        after = coded_stream(part)
        if after != before:
            raise Failed("mark_differs", f"{path}: {after.bytes} bytes of coded pictures instead of {before.bytes}")


def read_marks(path: Path, c2pa: bool = True) -> Marks:
    """Return the marks of a file.

    Args:
        path: MP4 file.
        c2pa: look for a C2PA manifest too, which needs the package c2pa-python.
    """
    with av.open(str(path.absolute())) as container:
        comment = container.metadata.get("comment", "")
    return Marks(comment, read_credentials(path) if c2pa else None)


def coded_stream(path: Path) -> Stream:
    """Return hash and size of the coded pictures, times included; nothing is decoded."""
    digest, size = hashlib.sha256(), 0
    with av.open(str(path.absolute())) as container:
        for packet in container.demux(video=0):
            data = bytes(packet)
            digest.update(f"{packet.pts},{packet.dts},{len(data)};".encode())
            digest.update(data)
            size += len(data)
    return Stream(digest.hexdigest(), size)
