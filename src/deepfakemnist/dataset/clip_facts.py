"""Facts of the file and the first stills of every video, as numbers and short texts: what the confound audit reads.

They are taken video by video, so that no more than one row group of stills is in memory, and in parts that can be jobs
of their own: opening the files takes most of an audit's time, and grows with their number.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepfakemnist.dataset.file_facts import (
    BRIGHTNESS,
    CONTAINER_NUMBERS,
    CONTAINER_TEXTS,
    PICTURES,
    SIZES,
    Fact,
    brightness,
    container_facts,
    picture_facts,
    size_facts,
)
from deepfakemnist.media.frames import decode_image
from deepfakemnist.tables.files import distinct_values, read_cells, read_table, write_table
from deepfakemnist.tables.schemas import Row

log = logging.getLogger(__name__)

#: Still frames per video from which image statistics are computed.
_FRAMES_PER_VIDEO = 4
#: Facts by set; a column is named SET: FACT.
SETS = {
    "container": (*CONTAINER_NUMBERS, *CONTAINER_TEXTS),
    "size": SIZES,
    "brightness": BRIGHTNESS,
    "pictures": PICTURES,
}
CLIP_FACTS = pa.schema(
    [
        pa.field("video_id", pa.string()),
        pa.field("quality", pa.string()),
        *(
            pa.field(f"{kind}: {name}", pa.string() if name in CONTAINER_TEXTS else pa.float64())
            for kind, names in SETS.items()
            for name in names
        ),
    ]
)
_Key = tuple[str, str]


def write_clip_facts(videos: Path, frames: Path, table: Path, part: int = 0, parts: int = 1) -> None:
    """Write the facts of a part of a dataset's videos, one row per video and quality (CLIP_FACTS).

    Facts of pictures are null where no frame of a video was sampled.

    Args:
        videos: the manifest's videos.parquet.
        frames: the manifest's frames.parquet.
        table: file to write.
        part: number of the part, from 0. A part has whole files of stills, and the first one the videos without any.
        parts: number of parts.
    """
    listed = read_table(videos, ["video_id", "quality", "path"])
    shards = sorted(distinct_values(frames, "shard_path"))[part::parts]
    stills = _first_frames(frames, shards)
    mine = {key for rows in stills.values() for key in rows.values()}
    names = {name for name, _ in mine}
    if part == 0:
        names |= set(pc.unique(listed["video_id"]).to_pylist()) - set(distinct_values(frames, "video_id"))
    listed = listed.filter(pc.is_in(listed["video_id"], pa.array(sorted(names), pa.string())))
    path_of = {(row["video_id"], row["quality"]): Path(row["path"]) for row in listed.to_pylist()}
    rows: list[Row] = []
    for shard, wanted in stills.items():
        for key, images in _images(shard, wanted):
            if key in path_of:
                rows.append(_facts(key, path_of.pop(key), [decode_image(image) for image in images]))
        log.info("%d of %d videos and qualities", len(rows), listed.num_rows)
    rows += [_facts(key, path, []) for key, path in path_of.items()]
    write_table(rows, table, CLIP_FACTS)


def _facts(key: _Key, path: Path, pictures: list[np.ndarray]) -> Row:
    sets: dict[str, dict[str, Fact]] = {"container": container_facts(path), "size": size_facts(path)}
    if pictures:
        sets |= {"brightness": brightness(pictures), "pictures": picture_facts(pictures)}
    named = {f"{kind}: {name}": value for kind, facts in sets.items() for name, value in facts.items()}
    return {"video_id": key[0], "quality": key[1], **named}


def _first_frames(frames: Path, shards: list[str]) -> dict[str, dict[int, _Key]]:
    """Return the rows of the first few stills of every video and quality, by file of stills."""
    wanted: dict[str, dict[int, _Key]] = defaultdict(dict)
    count: dict[_Key, int] = defaultdict(int)
    columns = ("shard_path", "video_id", "quality", "shard_row")
    index = read_table(frames, columns, [("shard_path", "in", shards)]) if shards else None
    for batch in () if index is None else index.to_batches(max_chunksize=1 << 16):
        for shard, *key, row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            name, quality = key
            if count[name, quality] < _FRAMES_PER_VIDEO:
                count[name, quality] += 1
                wanted[shard][row] = name, quality
    return wanted


def _images(shard: str, wanted: dict[int, _Key]) -> Iterator[tuple[_Key, list[bytes]]]:
    """Yield every video and quality of a file of stills with its images, as soon as the last one is read."""
    missing: dict[_Key, int] = defaultdict(int)
    for key in wanted.values():
        missing[key] += 1
    images: dict[_Key, list[bytes]] = defaultdict(list)
    for row, image in read_cells(shard, "image", sorted(wanted)):
        key = wanted[row]
        images[key].append(image)
        missing[key] -= 1
        if not missing[key]:
            yield key, images.pop(key)
