"""Decoded samples before RGB conversion, and their hash.

RGB conversion rounds and doubles the size, so encodes are verified on the samples that the encoder was given.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from deepfakemnist.media.container import Video, every_frame, open_video
from deepfakemnist.media.picture import Picture


class Samples:
    """The frames of an open file, hashed while they are read.

    Attributes:
        video: the open file.
        frames: number of frames read.
        size: their (width, height), upright.
    """

    def __init__(self, video: Video) -> None:
        self.video = video
        self.frames = 0
        self.size = (0, 0)
        self._digest = hashlib.sha256()

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield the samples of each frame, flat uint8, see :meth:`.picture.Picture.samples`.

        Raises: Failed, Rejected with a reason of :mod:`.container`; exhausting the iterator proves the file complete.
        """
        for frame in every_frame(self.video):
            picture = Picture(frame)
            samples = picture.samples()
            self._digest.update(samples.data)
            self.frames += 1
            self.size = (picture.width, picture.height)
            yield samples

    def hexdigest(self) -> str:
        """Return the sha256 over all samples so far, 64 hex digits.

        Reproducible without this project: for YUV files it is what
        ``ffmpeg -i FILE -map 0:v -f hash -hash sha256 -`` prints, for RGB files the same with ``-pix_fmt rgb24``.
        """
        return self._digest.hexdigest()


@contextmanager
def open_samples(path: Path | str) -> Iterator[Samples]:
    """Open a file for reading its samples.

    Raises: Failed, Rejected with a reason of :mod:`.container`.
    """
    with open_video(path) as video:
        yield Samples(video)


def samples_sha256(path: Path | str) -> str:
    """Return the sha256 over all samples of a file, see :meth:`Samples.hexdigest`.

    Raises: Failed, Rejected with a reason of :mod:`.container`.
    """
    with open_samples(path) as samples:
        for _ in samples:
            pass
        return samples.hexdigest()
