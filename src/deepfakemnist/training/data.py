"""Frames for detectors: which ones, read at random from Parquet shards, both classes equally often."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms.v2 import functional

from deepfakemnist.errors import ConfigError
from deepfakemnist.ids import seed_from
from deepfakemnist.media.frames import decode_image
from deepfakemnist.settings import MIXED
from deepfakemnist.tables import FRAME_INDEX, read_table
from deepfakemnist.training.frame_reader import BadFrame, FrameReader

#: Row of a dataset, and whether its picture is mirrored.
Draw = tuple[int, bool]


def read_index(index: Path | str, videos: Path | str) -> pa.Table:
    """Return the index of frames with ``action`` and ``person_id`` of their videos, sorted by shard and row.

    Raises: ConfigError when a table lacks a column, a frame's video is not in ``videos``, is there twice or has
    another label or split, a person is in more than one split, or a file of frames is missing.
    """
    frames = _read(index, FRAME_INDEX.names)
    known = _read(videos, ["video_id", "quality", "label", "split", "action", "person_id"])
    splits_of = known.group_by("person_id").aggregate([("split", "count_distinct")])
    if leaking := splits_of.filter(pc.greater(splits_of["split_count_distinct"], 1))["person_id"].to_pylist():
        raise ConfigError(
            f"{videos}: {len(leaking)} people are in more than one split, e.g. {sorted(leaking)[0]}; a detector would "
            "be tested on faces it was trained on. Plan the splits by person"
        )
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


def choose_frames(frames: pa.Table, split: str, trained_on: str) -> pa.Table:
    """Return the frames of a split at the quality ``trained_on``, or at every quality when that is ``mixed``.

    Raises: ConfigError when the index has no such quality.
    """
    chosen = pc.equal(frames["split"], split)
    qualities = sorted(set(frames["quality"].to_pylist()))
    if trained_on != MIXED:
        if trained_on not in qualities:
            raise ConfigError(
                f"trained_on: {trained_on!r} has no frames; the index has {', '.join(qualities) or 'none'}"
            )
        chosen = pc.and_(chosen, pc.equal(frames["quality"], trained_on))
    return frames.filter(chosen)


class FrameDataset(Dataset[tuple[Tensor, Tensor]]):
    """Frames named by an index, decoded when asked for.

    ``dataset[row]`` or ``dataset[row, mirrored]`` gives pixels (3, S, S), uint8 RGB, and the label (1 fake, 0 real).
    A frame that cannot be read raises BadFrame, which names it: another frame in its place would be a sample with
    a wrong name in the predictions.

    Args:
        frames: rows with the columns of tables.FRAME_INDEX.
        image_size: S, pixels; frames of another size are resized (bilinear, antialiased).
    """

    def __init__(self, frames: pa.Table, image_size: int) -> None:
        self.image_size = image_size
        self.labels: NDArray[np.int8] = frames["label"].to_numpy().astype(np.int8)
        self._frames = frames.select(["video_id", "quality", "frame_index", "shard_path", "shard_row"]).combine_chunks()
        # Opened by whoever reads first, so that every worker process has its own.
        self._reader: FrameReader | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, draw: int | Draw) -> tuple[Tensor, Tensor]:
        row, mirrored = draw if isinstance(draw, tuple) else (draw, False)
        if self._reader is None:
            self._reader = FrameReader()
        (name,) = self._frames.slice(row, 1).to_pylist()
        data = self._reader.image(name)
        try:
            picture = decode_image(data)
        except OSError as error:
            raise BadFrame(f"{FrameReader.describe(name)}: its {len(data)} bytes are no picture ({error})") from error
        pixels = torch.from_numpy(picture).permute(2, 0, 1).contiguous()
        if pixels.shape[1:] != (self.image_size, self.image_size):
            pixels = functional.resize(pixels, [self.image_size, self.image_size], antialias=True)
        label = torch.tensor(int(self.labels[row]))
        return functional.horizontal_flip(pixels) if mirrored else pixels, label


class BalancedSampler(Sampler[Draw]):
    """One epoch of training: every frame of the larger class once, those of the smaller as often in turn.

    Order and mirroring are drawn here, in the main process, from seed and epoch. So they depend neither on the number
    of workers nor on whether the run was interrupted.
    """

    def __init__(self, labels: NDArray[np.int8], seed: int) -> None:
        self.classes = [np.flatnonzero(labels == label) for label in (0, 1)]
        self.per_class = max(map(len, self.classes))
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return 2 * self.per_class

    def __iter__(self) -> Iterator[Draw]:
        random = np.random.default_rng(seed_from(self.seed, "frames", self.epoch))
        rows = np.concatenate([self._repeat(rows, random) for rows in self.classes])
        random.shuffle(rows)
        mirrored = random.random(len(rows)) < 0.5
        return iter(list(zip(rows.tolist(), mirrored.tolist(), strict=True)))

    def _repeat(self, rows: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
        """Return per_class rows: whole shuffled rounds of the class, and the first part of one more."""
        rounds = -(-self.per_class // len(rows))
        return np.concatenate([random.permutation(rows) for _ in range(rounds)])[: self.per_class]


def load(
    dataset: FrameDataset, batch_size: int, workers: int, sampler: BalancedSampler | None = None
) -> DataLoader[tuple[Tensor, Tensor]]:
    """Return batches of pixels (B, 3, S, S) uint8 and labels (B,): in order, or as the sampler says for training.

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
        pin_memory=torch.cuda.is_available(),
        # A loader draws seeds for its workers. From torch's own generator, that would shift the dropout that follows,
        # by an amount that depends on the number of workers.
        generator=torch.Generator(),
        worker_init_fn=_one_thread,
    )


def _one_thread(worker: int) -> None:
    """Keep a worker to one core: there is one worker per core."""
    torch.set_num_threads(1)


def _read(path: Path | str, columns: list[str]) -> pa.Table:
    table = read_table(path)
    if missing := [name for name in columns if name not in table.column_names]:
        raise ConfigError(f"{path} has no column {', '.join(missing)}; it has {', '.join(table.column_names)}")
    return table.select(columns)
