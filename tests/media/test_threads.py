"""Thread safety of video reading: scalers and filter graphs are never shared between threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from deepfakemnist.media.decode import read_pictures
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.media.picture import Picture
from deepfakemnist.media.pixels import pixels_sha256

SIDE, THREADS = 192, 8


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, random = tmp_path_factory.mktemp("clips"), np.random.default_rng(3)
    paths = [folder / f"{number}.mp4" for number in range(THREADS)]
    for path in paths:
        write_working_clip(path, random.integers(0, 255, (20, SIDE, SIDE, 3), dtype=np.uint8), 25)
    return paths


@pytest.mark.slow
@pytest.mark.parametrize(
    "convert",
    [
        Picture.rgb,
        lambda picture: picture.shrunk(SIDE // 2),
        lambda picture: picture.region(20, 30, 80, 90),
        lambda picture: picture.scaled_region(20, 30, 80, 80, 64),
    ],
    ids=["rgb", "shrunk", "region", "scaled_region"],
)
def test_threads_get_the_same_pixels_as_one_thread(clips: list[Path], convert: Callable[[Picture], np.ndarray]) -> None:
    def digest(path: Path) -> str:
        return pixels_sha256(convert(picture) for picture, _ in read_pictures(path))

    alone = [digest(path) for path in clips]
    assert len(set(alone)) == THREADS
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in range(3):
            assert list(pool.map(digest, clips)) == alone
