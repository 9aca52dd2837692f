"""A small dataset whose fakes carry a pattern: 24 people, a real and a fake clip each, frames in Parquet shards."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepfakemnist.media.frames import encode_image
from deepfakemnist.tables.dataset_schemas import FRAME_INDEX, VIDEOS
from deepfakemnist.tables.files import write_table
from deepfakemnist.tables.schemas import FRAMES

SIZE = 32
ACTIONS = ("blink", "nod")


@dataclass
class Data:
    """Paths and rows of a small dataset."""

    folder: Path
    index: Path
    videos: Path
    index_rows: list[dict]
    video_rows: list[dict]
    images: dict[tuple[str, str, int], np.ndarray]


def image(fake: bool, random: np.random.Generator, blur: bool, stripes: float) -> np.ndarray:
    """A smooth image; a fake one has the stripes of an upsampling decoder, weaker where blurred."""
    smooth = cv2.resize(random.integers(60, 196, (4, 4, 3)).astype(np.float32), (SIZE, SIZE))
    smooth += random.normal(0, 4, smooth.shape)
    if fake:
        smooth[:, ::2] += stripes
        smooth[:, 1::2] -= stripes
    if blur:
        smooth = cv2.GaussianBlur(smooth, (3, 3), 0.5)
    return np.clip(smooth, 0, 255).astype(np.uint8)


def make_data(
    folder: Path, people: int = 24, frames: int = 4, shuffled: bool = False, shards: int = 3, stripes: float = 18
) -> Data:
    """Write frames, index and videos; ``shuffled`` gives half of each class the other class's images.

    Half the people are in train, a quarter in val, a quarter in test; every clip exists as raw and c40.
    """
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(5)
    index_rows, video_rows, images = [], [], {}
    by_shard = [[] for _ in range(shards)]
    for person in range(people):
        split = ("train", "val", "train", "test")[person % 4]
        for label in (0, 1):
            source = f"p{person:02d}#a"
            video = f"{source}@d{person % 2}" if label else source
            action = ACTIONS[person // 4 % 2] if label else ""
            striped = bool(label) != (shuffled and person // 4 % 2 == 1)
            for quality in ("raw", "c40"):
                common = {"video_id": video, "label": label, "quality": quality}
                apart = label == 1 and person // 8 == 1  # the driver is in another split
                fact = {**common, "split": split, "split_driver": "" if apart else split, "action": action}
                # Other people than in split, and three folds.
                other = {"split_paper": ("test", "train", "train", "val")[person % 4], "fold": person % 3}
                video_rows.append({**fact, **other, "person_id": f"p{person:02d}", "source_id": source})
                for number in range(frames):
                    pixels = image(striped, random, quality == "c40", stripes)
                    images[video, quality, number] = pixels
                    row = {**common, "frame_index": number, "time_s": number / 25}
                    shard = by_shard[person % shards]
                    index_rows.append(
                        {
                            **row,
                            "split": split,
                            "shard_path": str(folder / f"frames{person % shards}.parquet"),
                            "shard_row": len(shard),
                        }
                    )
                    shard.append(
                        {
                            **row,
                            "width": SIZE,
                            "height": SIZE,
                            "image": encode_image(pixels),
                            "status": "ok",
                            "reason": "",
                            "detail": "",
                        }
                    )
    for number, rows in enumerate(by_shard):
        table = pa.Table.from_pylist(rows, schema=FRAMES)
        pq.write_table(table, folder / f"frames{number}.parquet", row_group_size=7)
    data = Data(folder, folder / "index.parquet", folder / "videos.parquet", index_rows, video_rows, images)
    write_index(data, index_rows)
    write_table(video_rows, data.videos, VIDEOS)
    return data


def write_index(data: Data, rows: list[dict]) -> None:
    write_table(rows, data.index, FRAME_INDEX)


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Data:
    """The striped dataset; tests must not change its files."""
    return make_data(tmp_path_factory.mktemp("striped"))


@pytest.fixture
def own_data(tmp_path) -> Data:
    """A smaller dataset for tests that modify it."""
    return make_data(tmp_path / "own", people=8, frames=2)


@pytest.fixture(scope="session")
def make():
    """``make_data`` itself, for datasets of other sizes."""
    return make_data
