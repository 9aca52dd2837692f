"""Frames for detectors: which ones, read at random from Parquet shards, how often each, and how changed."""

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
from deepfakemnist.tables.files import read_metadata, read_table
from deepfakemnist.tables.schemas import FRAME_INDEX, PUBLISHED_SPLIT, Row
from deepfakemnist.training.augment import augment
from deepfakemnist.training.frame_reader import BadFrame, FrameReader

log = logging.getLogger(__name__)

#: Makes a picture of a picture and the name of its frame.
Change = Callable[[NDArray[np.uint8], str], NDArray[np.uint8]]
#: Row of a dataset, and the seed that its picture is changed by.
Draw = tuple[int, int]


def read_index(index: Path | str, videos: Path | str) -> pa.Table:
    """Return the index of frames with ``action``, ``person_id`` and ``split_driver`` of their videos, by shard and row.

    Raises: ConfigError when a table lacks a column, a frame's video is not in ``videos``, is there twice or has
    another label or split, a person is in more than one split that was not published so, or a file of frames is
    missing.
    """
    frames = _read(index, FRAME_INDEX.names)
    known = _read(videos, ["video_id", "quality", "label", "split", "action", "person_id", "split_driver"])
    splits_of = known.group_by("person_id").aggregate([("split", "count_distinct")])
    if leaking := splits_of.filter(pc.greater(splits_of["split_count_distinct"], 1))["person_id"].to_pylist():
        what = (
            f"{videos}: {len(leaking)} people are in more than one split, e.g. {sorted(leaking)[0]}; a detector would "
            "be tested on faces it was trained on"
        )
        if read_metadata(videos).get("split") != PUBLISHED_SPLIT["split"]:
            raise ConfigError(f"{what}. Plan the splits by person")
        log.warning("%s. The split is the one that was published, and kept", what)
    twice = known.group_by(["video_id", "quality"]).aggregate([([], "count_all")])
    if repeated := twice.filter(pc.greater(twice["count_all"], 1))["video_id"].to_pylist():
        raise ConfigError(f"{videos}: {len(repeated)} videos have two rows at one quality, e.g. {sorted(repeated)[0]}")
    known = known.append_column("known", pa.array([True] * known.num_rows))
    joined = frames.join(known, keys=["video_id", "quality"], right_suffix="_of_video")
    lost = joined.filter(pc.is_null(joined["known"]))
    if lost.num_rows:
        name, quality = lost["video_id"][0], lost["quality"][0]
        raise ConfigError(f"{lost.num_rows} frames of {index} are of videos not in {videos}, e.g. {name} at {quality}")
    for column in ("label", "split"):
        differing = joined.filter(pc.not_equal(joined[column], joined[f"{column}_of_video"]))
        if differing.num_rows:
            name = differing["video_id"][0]
            raise ConfigError(f"{column} of video {name} differs between {index} and {videos}; make both anew")
    missing = [path for path in pc.unique(joined["shard_path"]).to_pylist() if not Path(path).is_file()]
    if missing:
        raise ConfigError(
            f"{index} names {len(missing)} files of frames that do not exist, e.g. {sorted(missing)[0]} (paths start "
            f"at the working directory, {Path.cwd()}); run the frames stage again"
        )
    return joined.drop_columns(["known", "label_of_video", "split_of_video"]).sort_by(
        [("shard_path", "ascending"), ("shard_row", "ascending")]
    )


class FrameDataset(Dataset[tuple[Tensor, Tensor]]):
    """Frames named by an index, decoded when asked for.

    ``dataset[row]`` gives pixels (3, S, S), uint8 RGB, as stored, and the label (1 fake, 0 real), and
    ``dataset[row, seed]`` gives them augmented by that seed. With ``clip_frames`` T above 1 pixels are (T, 3, S, S):
    the frame and its neighbours among the stored frames of the video, in order; the last is repeated where a video has
    fewer than T.
    A frame that cannot be read raises BadFrame, which names it: another frame in its place would be a sample with
    a wrong name in the predictions.

    Args:
        frames: rows with the columns of tables.FRAME_INDEX.
        image_size: S, pixels; frames of another size are resized (bilinear, antialiased).
        clip_frames: T, see above.
        augmentation: what ``dataset[row, seed]`` does.
        change: called with every stored picture (H, W, 3) and the name of its frame, returns another of its shape.
    """

    def __init__(
        self,
        frames: pa.Table,
        image_size: int,
        clip_frames: int = 1,
        augmentation: Augmentation = "none",
        change: Change | None = None,
    ) -> None:
        self.image_size = image_size
        self.augmentation = augmentation
        self._change = change
        self.labels: NDArray[np.int8] = frames["label"].to_numpy().astype(np.int8)
        self._frames = frames.select(["video_id", "quality", "frame_index", "shard_path", "shard_row"]).combine_chunks()
        self._clips = _clips(self._frames, clip_frames) if clip_frames > 1 else None
        # Opened by whoever reads first, so that every worker process has its own.
        self._reader: FrameReader | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, draw: int | Draw) -> tuple[Tensor, Tensor]:
        row, seed = draw if isinstance(draw, tuple) else (draw, None)
        if self._clips is None:
            pixels = self._picture(row)
        else:
            pixels = torch.stack([self._picture(int(number)) for number in self._clips[row]])
        if seed is not None:
            pixels = augment(pixels, self.augmentation, seed)
        return pixels, torch.tensor(int(self.labels[row]))

    def _picture(self, row: int) -> Tensor:
        """Return one stored frame at the input size, (3, S, S) uint8."""
        if self._reader is None:
            self._reader = FrameReader()
        name: Row = self._frames.slice(row, 1).to_pylist()[0]
        data = self._reader.image(name)
        try:
            picture = decode_image(data)
        except OSError as error:
            raise BadFrame(f"{FrameReader.describe(name)}: its {len(data)} bytes are no picture ({error})") from error
        if self._change is not None:
            picture = self._change(picture, f"{name['video_id']} {name['frame_index']}")
        # A view, in memory still channels last: mirroring, batches and convolutions are quicker so.
        pixels = torch.from_numpy(picture).permute(2, 0, 1)
        if pixels.shape[1:] != (self.image_size, self.image_size):
            pixels = functional.resize(pixels, [self.image_size, self.image_size], antialias=True)
        return pixels


def _clips(frames: pa.Table, length: int) -> NDArray[np.int64]:
    """Return the rows (N, length) of the clip around every frame, in the order of time."""
    table = frames.select(["video_id", "quality", "frame_index"]).to_pandas()
    clips = np.empty((len(table), length), np.int64)
    for _, video in table.sort_values("frame_index", kind="stable").groupby(["video_id", "quality"]):
        rows = video.index.to_numpy()
        first = np.clip(np.arange(len(rows)) - length // 2, 0, max(len(rows) - length, 0))
        clips[rows] = rows[np.minimum(first[:, None] + np.arange(length), len(rows) - 1)]
    return clips


class FrameSampler(Sampler[Draw]):
    """One epoch of training: which frames, how often, in which order, and the seed that each is augmented by.

    All of it is drawn here, in the main process, from seed and epoch. So it depends neither on the number of workers
    nor on whether the run was interrupted.

    Args:
        labels: (N,) 1 fake, 0 real.
        actions: (N,) facial action of each fake.
        seed: of the draws, with ``epoch``, an attribute to be set.
        sampling: class: every frame of the larger class once, those of the smaller as often in turn; action: the same,
            and among the fakes each action as often as any other; natural: every frame once.
        rank, ranks: of several processes that train together; each draws its part of every batch.
    """

    def __init__(
        self,
        labels: NDArray[np.int8],
        actions: Sequence[str],
        seed: int,
        sampling: Sampling = "class",
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self.seed = seed
        self._rank, self._ranks = rank, ranks
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
        return sum(count for _, count in self._parts) // self._ranks

    def __iter__(self) -> Iterator[Draw]:
        random = np.random.default_rng(seed_from(self.seed, "frames", self.epoch))
        rows = np.concatenate([_in_turn(rows, count, random) for rows, count in self._parts])
        random.shuffle(rows)
        seeds = random.integers(0, 2**62, len(rows))
        # Every n-th draw: the batches of all processes together are those that one process would have.
        mine = slice(self._rank, len(self) * self._ranks, self._ranks)
        return iter(list(zip(rows[mine].tolist(), seeds[mine].tolist(), strict=True)))


def _in_turn(rows: NDArray[np.int64], count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Return ``count`` rows: whole shuffled rounds of them, and the first part of one more."""
    rounds = -(-count // len(rows))
    return np.concatenate([random.permutation(rows) for _ in range(rounds)])[:count]


def load(
    dataset: FrameDataset, batch_size: int, workers: int, sampler: FrameSampler | None = None
) -> DataLoader[tuple[Tensor, Tensor]]:
    """Return batches of pixels (B, ...) uint8 and labels (B,): in order, or as the sampler says for training.

    Args:
        dataset: see there.
        batch_size: frames per batch.
        workers: processes that decode; 0 decodes in this one.
        sampler: given for training, where a last, smaller batch is left out: batch norm cannot learn from one frame.
    """
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        drop_last=sampler is not None and len(sampler) > batch_size,
        num_workers=workers,
        persistent_workers=workers > 0 and sampler is not None,
        collate_fn=_batch,
        pin_memory=torch.cuda.is_available(),
        # A loader draws seeds for its workers. From torch's own generator, that would shift the dropout that follows,
        # by an amount that depends on the number of workers.
        generator=torch.Generator(),
        worker_init_fn=_one_thread,
    )


def _batch(samples: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Return pixels (B, ..., 3, S, S), in memory channels last, and labels (B,)."""
    pixels, labels = zip(*samples, strict=True)
    return torch.stack([picture.movedim(-3, -1) for picture in pixels]).movedim(-1, -3), torch.stack(labels)


def _one_thread(worker: int) -> None:
    """Keep a worker to one core: there is one worker per core."""
    torch.set_num_threads(1)


def _read(path: Path | str, columns: list[str]) -> pa.Table:
    table = read_table(path)
    if missing := [name for name in columns if name not in table.column_names]:
        raise ConfigError(f"{path} has no column {', '.join(missing)}; it has {', '.join(table.column_names)}")
    return table.select(columns)
