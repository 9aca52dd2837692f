"""Dataset, balanced sampler and data loader of video frames stored in Parquet shards."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms.v2 import functional

from deepfakemnist.config.detectors import Augmentation, Sampling
from deepfakemnist.errors import ConfigError
from deepfakemnist.ids import seed_from
from deepfakemnist.media.frames import decode_image
from deepfakemnist.tables.dataset_schemas import FRAME_INDEX, PUBLISHED_SPLIT
from deepfakemnist.tables.files import read_metadata, read_table
from deepfakemnist.tables.schemas import Row
from deepfakemnist.training.augment import augment
from deepfakemnist.training.frame_reader import BadFrame, FrameReader
from deepfakemnist.training.frame_shards import locate_shards

log = logging.getLogger(__name__)

#: Maps an image (H, W, 3) uint8 and the name of its frame to an image of the same shape.
FrameTransform = Callable[[NDArray[np.uint8], str], NDArray[np.uint8]]
#: Columns of the videos that select training sets.
_OF_VIDEOS = ("action", "animator", "person_id", "source_id", "split_driver", "split_paper", "fold")
#: Row of a dataset and the seed of its augmentation.
SeededRow = tuple[int, int]


def read_index(index: Path | str, videos: Path | str, of_this_run: bool = True) -> pa.Table:
    """Return the frame index with columns of its videos (``_OF_VIDEOS``), by shard and row.

    Args:
        index: table with tables.FRAME_INDEX.
        videos: table with tables.VIDEOS.
        of_this_run: shards are named from the working directory; otherwise see frame_shards.locate_shards.

    Raises: ConfigError when a table lacks a column, a frame's video is missing from ``videos``, duplicated there or
    has another label or split, a person is in more than one split (unless the split is a published one), or a shard of
    frames is missing.
    """
    frames = _read_frames(index, of_this_run)
    known = _read(videos, ["video_id", "quality", "label", "split", *_OF_VIDEOS])
    splits_of = known.group_by("person_id").aggregate([("split", "count_distinct")])
    if leaking := splits_of.filter(pc.greater(splits_of["split_count_distinct"], 1))["person_id"].to_pylist():
        leak = (
            f"{videos}: {len(leaking)} people are in more than one split, e.g. {sorted(leaking)[0]}; a detector would "
            "be tested on faces it was trained on"
        )
        if read_metadata(videos).get("split") != PUBLISHED_SPLIT["split"]:
            raise ConfigError(f"{leak}. Split by person")
        log.warning("%s. The split is a published one and is kept", leak)
    twice = known.group_by(["video_id", "quality"]).aggregate([([], "count_all")])
    if repeated := twice.filter(pc.greater(twice["count_all"], 1))["video_id"].to_pylist():
        raise ConfigError(f"{videos}: {len(repeated)} videos have two rows at one quality, e.g. {sorted(repeated)[0]}")
    known = known.append_column("known", pa.array([True] * known.num_rows))
    joined = frames.join(known, keys=["video_id", "quality"], right_suffix="_of_video")
    lost = joined.filter(pc.is_null(joined["known"]))
    if lost.num_rows:
        name, quality = lost["video_id"][0], lost["quality"][0]
        raise ConfigError(f"{lost.num_rows} frames of {index} have no video in {videos}, e.g. {name} at {quality}")
    for column in ("label", "split"):
        differing = joined.filter(pc.not_equal(joined[column], joined[f"{column}_of_video"]))
        if differing.num_rows:
            name = differing["video_id"][0]
            raise ConfigError(f"{column} of video {name} differs between {index} and {videos}; regenerate both")
    missing = [path for path in pc.unique(joined["shard_path"]).to_pylist() if not Path(path).is_file()]
    if missing:
        raise ConfigError(
            f"{index} names {len(missing)} shards of frames that do not exist, e.g. {sorted(missing)[0]} (paths are "
            f"relative to the working directory, {Path.cwd()}); re-run the frames stage"
        )
    return joined.drop_columns(["known", "label_of_video", "split_of_video"]).sort_by(
        [("shard_path", "ascending"), ("shard_row", "ascending")]
    )


class FrameDataset(Dataset[tuple[Tensor, Tensor]]):
    """Map-style dataset of indexed frames, decoded on access.

    ``dataset[row]`` returns the stored pixels (3, S, S), uint8 RGB, and the label (1 fake, 0 real);
    ``dataset[row, seed]`` returns them augmented with that seed. With ``clip_frames`` T above 1, pixels are
    (T, 3, S, S): the frame and its neighbours among the stored frames of the video, in temporal order; the last is
    repeated where a video has fewer than T.
    A frame that cannot be read raises BadFrame, which names it: a substitute would appear under the wrong name in the
    predictions.

    Args:
        frames: rows with the columns of tables.FRAME_INDEX.
        image_size: S, pixels; frames of another size are resized (bilinear, antialiased).
        clip_frames: T, see above.
        augmentation: augmentation of ``dataset[row, seed]``.
        transform: applied to every stored image (H, W, 3) with the name of its frame; keeps the shape.
    """

    def __init__(
        self,
        frames: pa.Table,
        image_size: int,
        clip_frames: int = 1,
        augmentation: Augmentation = "none",
        transform: FrameTransform | None = None,
    ) -> None:
        self.image_size = image_size
        self.augmentation = augmentation
        self._transform = transform
        self.labels: NDArray[np.int8] = frames["label"].to_numpy().astype(np.int8)
        self._frames = frames.select(["video_id", "quality", "frame_index", "shard_path", "shard_row"]).combine_chunks()
        self._clips = _clips(self._frames, clip_frames) if clip_frames > 1 else None
        # Opened on first access, so that every worker process has its own.
        self._reader: FrameReader | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: int | SeededRow) -> tuple[Tensor, Tensor]:
        row, seed = key if isinstance(key, tuple) else (key, None)
        if self._clips is None:
            pixels = self._image(row)
        else:
            pixels = torch.stack([self._image(int(number)) for number in self._clips[row]])
        if seed is not None:
            pixels = augment(pixels, self.augmentation, seed)
        return pixels, torch.tensor(int(self.labels[row]))

    def _image(self, row: int) -> Tensor:
        """Return one stored frame at the input size, (3, S, S) uint8."""
        if self._reader is None:
            self._reader = FrameReader()
        name: Row = self._frames.slice(row, 1).to_pylist()[0]
        data = self._reader.image(name)
        try:
            image = decode_image(data)
        except OSError as error:
            raise BadFrame(f"{FrameReader.describe(name)}: its {len(data)} bytes are not an image ({error})") from error
        if self._transform is not None:
            image = self._transform(image, f"{name['video_id']} {name['frame_index']}")
        return detector_input(image, self.image_size)


def detector_input(image: NDArray[np.uint8], size: int) -> Tensor:
    """Return an image (H, W, 3) uint8 RGB at a detector's input size, (3, size, size); a face region may have any."""
    # A view that stays channels-last in memory: faster flips, collation and convolutions. Of other layouts, such as a
    # region of a larger image, resize takes another path, with other rounding.
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    return pixels if pixels.shape[1:] == (size, size) else functional.resize(pixels, [size, size], antialias=True)


def _clips(frames: pa.Table, length: int) -> NDArray[np.int64]:
    """Return the rows (N, length) of the clip around every frame, in temporal order."""
    table = frames.select(["video_id", "quality", "frame_index"]).to_pandas()
    clips = np.empty((len(table), length), np.int64)
    for _, video in table.sort_values("frame_index", kind="stable").groupby(["video_id", "quality"]):
        rows = video.index.to_numpy()
        clips[rows] = rows[neighbours(len(rows), length)]
    return clips


def neighbours(count: int, length: int) -> NDArray[np.int64]:
    """Return, for each of ``count`` frames in order, the ``length`` frames around it, (count, length).

    They move inwards at the ends; the last frame is repeated where there are fewer than ``length``.
    """
    first = np.clip(np.arange(count) - length // 2, 0, max(count - length, 0))
    return np.minimum(first[:, None] + np.arange(length), count - 1)


class FrameSampler(Sampler[SeededRow]):
    """Class-balanced sampler of one training epoch: order, repetitions and the augmentation seed of every sample.

    Everything is sampled in the main process from seed and epoch, so an epoch depends neither on the number of workers
    nor on whether the training was interrupted.

    Args:
        labels: (N,) 1 fake, 0 real.
        actions: (N,) facial action of each fake.
        seed: sampling seed; combined with the attribute ``epoch``, which the training loop sets.
        sampling: class: every frame of the larger class once, the smaller class repeated to the same number; action:
            the same, with the actions balanced among the fakes; natural: every frame once.
        rank, world_size: of distributed training; each rank samples its part of every batch.
    """

    def __init__(
        self,
        labels: NDArray[np.int8],
        actions: Sequence[str],
        seed: int,
        sampling: Sampling = "class",
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.seed = seed
        self._rank, self._world_size = rank, world_size
        self.epoch = 0
        real, fake = (np.flatnonzero(labels == label) for label in (0, 1))
        larger = max(len(real), len(fake))
        if sampling == "natural":
            self._parts = [(np.arange(len(labels)), len(labels))]
        elif sampling == "class":
            self._parts = [(real, larger), (fake, larger)]
        else:
            kinds = np.asarray(actions, dtype=str)
            groups = [fake[kinds[fake] == kind] for kind in np.unique(kinds[fake])]
            each = -(-larger // len(groups))
            self._parts = [(real, each * len(groups)), *((group, each) for group in groups)]

    def __len__(self) -> int:
        return sum(count for _, count in self._parts) // self._world_size

    def __iter__(self) -> Iterator[SeededRow]:
        random = np.random.default_rng(seed_from(self.seed, "frames", self.epoch))
        rows = np.concatenate([_repeated(rows, count, random) for rows, count in self._parts])
        random.shuffle(rows)
        seeds = random.integers(0, 2**62, len(rows))
        # Strided: the local batches of all ranks together are the batch of a single process.
        local = slice(self._rank, len(self) * self._world_size, self._world_size)
        return iter(list(zip(rows[local].tolist(), seeds[local].tolist(), strict=True)))


def _repeated(rows: NDArray[np.int64], count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Return ``count`` rows: whole permutations of ``rows``, the last one truncated."""
    rounds = -(-count // len(rows))
    return np.concatenate([random.permutation(rows) for _ in range(rounds)])[:count]


def make_loader(
    dataset: FrameDataset, batch_size: int, workers: int, sampler: FrameSampler | None = None
) -> DataLoader[tuple[Tensor, Tensor]]:
    """Return a data loader of pixels (B, ...) uint8 and labels (B,): in row order, or in the sampler's for training.

    Args:
        dataset: frames to load.
        batch_size: frames per batch.
        workers: worker processes that decode; 0 decodes in this process.
        sampler: training sampler; drops a smaller last batch, since batch norm cannot train on a single frame.
    """
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        drop_last=sampler is not None and len(sampler) > batch_size,
        num_workers=workers,
        persistent_workers=workers > 0 and sampler is not None,
        collate_fn=_collate,
        pin_memory=torch.cuda.is_available(),
        # A loader samples seeds for its workers. From torch's global generator, that would shift the dropout that
        # follows, by an amount that depends on the number of workers.
        generator=torch.Generator(),
        worker_init_fn=_one_thread,
    )


def _collate(samples: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Return pixels (B, ..., 3, S, S), channels-last in memory, and labels (B,)."""
    pixels, labels = zip(*samples, strict=True)
    return torch.stack([image.movedim(-3, -1) for image in pixels]).movedim(-1, -3), torch.stack(labels)


def _one_thread(worker: int) -> None:
    """Limit a worker to one thread: there is one worker per core."""
    torch.set_num_threads(1)


def _read_frames(index: Path | str, of_this_run: bool) -> pa.Table:
    """Return the index without checksums; of another run, with the files that its shards were found to be."""
    columns = [name for name in FRAME_INDEX.names if name != "shard_checksum"]
    frames = _read(index, columns)
    if of_this_run:
        return frames
    # An index of version 0.2 or earlier has no checksums.
    listed = read_table(index)
    recorded = listed["shard_checksum"].to_pylist() if "shard_checksum" in listed.column_names else [None] * len(listed)
    paths = frames["shard_path"].to_pylist()
    files = locate_shards(index, dict(zip(paths, recorded, strict=True)))
    found = pa.array([files[path] for path in paths], pa.string())
    return frames.set_column(frames.schema.get_field_index("shard_path"), "shard_path", found)


def _read(path: Path | str, columns: list[str]) -> pa.Table:
    table = read_table(path)
    if missing := [name for name in columns if name not in table.column_names]:
        raise ConfigError(f"{path} has no column {', '.join(missing)}; it has {', '.join(table.column_names)}")
    return table.select(columns)
