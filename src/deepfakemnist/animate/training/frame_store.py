"""Training clips on disk: lossless pictures in one Parquet file per clip, decoded by worker processes.

For more clips than memory holds: a clip of 48 frames takes 9.4 MB of memory, and 3 to 5 MB on disk. Every picture is a
row group of its own, so that two frames of a clip are two reads, and no video has to be decoded from its last keyframe.
"""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from deepfakemnist.animate.training.pair_batches import PairBatch, PairPlan
from deepfakemnist.animate.training.pairs import (
    THUMBNAIL,
    Clip,
    LoadedClip,
    PairSampler,
    TrainingClip,
    check_points,
    load_clip,
    needs_points,
)
from deepfakemnist.config.animators.fomm import TrainAnimatorSettings
from deepfakemnist.devices.launch import main_script_left_alone
from deepfakemnist.errors import ConfigError
from deepfakemnist.tables.checksums import file_facts
from deepfakemnist.tables.files import atomic_path

log = logging.getLogger(__name__)

_SCHEMA = pa.schema([("image", pa.binary()), ("points", pa.list_(pa.float32()))])
#: Part of the files' names, changed with their format.
_VERSION = 1
#: Open files per process. Clips are drawn at random, so that more would rarely help.
_OPEN_FILES = 64
#: Batches that each worker has ready.
_PREFETCH = 4
#: Below this number of clips, starting processes takes longer than they save.
_CLIPS_PER_PROCESS = 8


@dataclass(frozen=True)
class StoredClip:
    """Clip with its frames on disk."""

    path: Path
    count: int
    size: int
    points: Tensor | None
    """(N, P, 2) in -1..1."""
    thumbnails: Tensor
    """(N, 3, 32, 32) float32 in 0..255; (0, ...) where no setting compares frames."""
    person: str

    def __len__(self) -> int:
        """Return the number of frames."""
        return self.count

    @property
    def digest(self) -> str:
        """Digest of the frames, their points and the person."""
        return f"{self.person} {self.path.stem} {self.points is not None}"

    def pictures(self, frames: Sequence[int]) -> Tensor:
        """Decode frames, (n, 3, size, size) uint8. Raises: ConfigError for a damaged file."""
        # Imported here, because training on frames in memory needs no image library.
        from deepfakemnist.media.frames import decode_image

        try:
            file = _opened(self.path, os.getpid())
            cells = [file.read_row_group(frame, columns=["image"])["image"][0].as_py() for frame in frames]
            images = np.stack([decode_image(cell) for cell in cells])
        except (OSError, pa.ArrowException, ValueError) as error:
            raise ConfigError(
                f"{self.path}, a training clip of {self.person}, is damaged ({error}); remove it to have it written "
                "again"
            ) from error
        return torch.from_numpy(images).permute(0, 3, 1, 2)


def store_clips(
    clips: Sequence[TrainingClip], settings: TrainAnimatorSettings, folder: Path, cache: Path, workers: int = 0
) -> list[StoredClip]:
    """Write the frames of clips that are not stored yet, and return all, in order.

    Args:
        clips: clips to store.
        settings: size and number of frames; whether facial points and thumbnails are needed.
        folder: one file per clip, named by the digest of its content and settings; existing files are kept.
        cache: folder for detected facial points.
        workers: processes that decode and write.

    Raises: see ``load_clips``.
    """
    by_points = needs_points(settings)
    paths = [folder / f"{_key(clip, settings, by_points)}.parquet" for clip in clips]
    missing = {path: clip for path, clip in zip(paths, clips, strict=True) if not path.is_file()}
    if missing:
        log.info("storing the frames of %d of %d clips in %s", len(missing), len(clips), folder)
    write = partial(_write, settings=settings, cache=cache if by_points else None)
    if workers > 1 and len(missing) >= workers * _CLIPS_PER_PROCESS:
        # Spawned, because this process may have threads and a GPU.
        spawn = multiprocessing.get_context("spawn")
        with main_script_left_alone(), ProcessPoolExecutor(workers, mp_context=spawn) as pool:
            list(pool.map(write, missing, missing.values()))
    else:
        for path, clip in missing.items():
            write(path, clip)
    stored = [_open(path, clip.person, settings, by_points) for path, clip in zip(paths, clips, strict=True)]
    check_points(stored, settings)
    return stored


def pair_batches(
    sampler: PairSampler,
    steps: Sequence[int],
    count: int,
    random_of: Callable[[int], torch.Generator],
    workers: int,
    share: slice = slice(None),
) -> Iterator[PairBatch]:
    """Yield the batch of every step, read ahead by worker processes.

    What a batch is depends on its step alone, so it depends neither on the workers nor on how far they are ahead.

    Args:
        sampler: draws the pairs, in this process.
        steps: numbers of the steps.
        count: pairs per step, of all ranks.
        random_of: returns the generator of a step.
        workers: processes; 0 reads in this process.
        share: pairs that this rank trains on.
    """
    more: dict[str, Any] = {"prefetch_factor": _PREFETCH} if workers else {}
    yield from DataLoader(
        _PairDataset(sampler.clips),
        batch_sampler=_Steps(sampler, steps, count, random_of, share),
        num_workers=workers,
        collate_fn=_collate,
        pin_memory=torch.cuda.is_available(),
        # A loader draws seeds for its workers, which must not move torch's global generator.
        generator=torch.Generator(),
        worker_init_fn=_one_thread,
        **more,
    )


class _Steps(Sampler[list[PairPlan]]):
    """Plans of every step's pairs."""

    def __init__(
        self,
        sampler: PairSampler,
        steps: Sequence[int],
        count: int,
        random_of: Callable[[int], torch.Generator],
        share: slice,
    ) -> None:
        self.sampler, self.steps, self.count, self.random_of, self.share = sampler, steps, count, random_of, share

    def __iter__(self) -> Iterator[list[PairPlan]]:
        for step in self.steps:
            yield self.sampler.plan(self.count, self.random_of(step))[self.share]

    def __len__(self) -> int:
        return len(self.steps)


class _PairDataset(Dataset[tuple[Tensor, Tensor | None, PairPlan]]):
    """Reads the frames of a pair, and its facial points."""

    def __init__(self, clips: Sequence[Clip]) -> None:
        self.clips = clips

    def __getitem__(self, plan: PairPlan) -> tuple[Tensor, Tensor | None, PairPlan]:
        clip = self.clips[plan.clip]
        return clip.pictures(plan.frames), None if clip.points is None else clip.points[list(plan.frames)], plan


def _collate(samples: Sequence[tuple[Tensor, Tensor | None, PairPlan]]) -> PairBatch:
    frames, points, plans = zip(*samples, strict=True)
    return PairBatch.of(list(frames), list(points), plans)


def _one_thread(worker: int) -> None:
    """Limit a worker to one thread: there is one worker per core."""
    torch.set_num_threads(1)


def _key(clip: TrainingClip, settings: TrainAnimatorSettings, by_points: bool) -> str:
    """Return the digest of a clip's content, and of what is stored of it."""
    digest = hashlib.blake2b(f"{_VERSION} {settings.size} {settings.frames_per_clip} {by_points} ".encode())
    if isinstance(clip.frames, np.ndarray):
        digest.update(f"{clip.frames.shape}".encode())
        digest.update(np.ascontiguousarray(clip.frames).data)
    else:
        digest.update((clip.sha256 or file_facts(clip.frames).sha256).encode())
    if clip.points is not None:
        digest.update(np.ascontiguousarray(clip.points).data)
    return digest.hexdigest()[:32]


def _write(path: Path, clip: TrainingClip, settings: TrainAnimatorSettings, cache: Path | None) -> None:
    from deepfakemnist.media.frames import encode_image

    loaded: LoadedClip = load_clip(clip, settings, cache)
    pictures = loaded.images.permute(0, 2, 3, 1).contiguous().numpy()
    points = [None] * len(loaded) if loaded.points is None else loaded.points.flatten(1).tolist()
    with atomic_path(path) as part, pq.ParquetWriter(part, _SCHEMA, compression="none") as writer:
        for picture, where in zip(pictures, points, strict=True):
            writer.write_table(pa.Table.from_pylist([{"image": encode_image(picture), "points": where}], _SCHEMA))


def _open(path: Path, person: str, settings: TrainAnimatorSettings, by_points: bool) -> StoredClip:
    file = pq.ParquetFile(path)
    points = None
    if by_points:
        values = np.array(file.read(columns=["points"])["points"].to_pylist(), np.float32)
        points = torch.from_numpy(values.reshape(len(values), -1, 2))
    side = min(THUMBNAIL, settings.size)
    clip = StoredClip(path, file.num_row_groups, settings.size, points, torch.empty(0, 3, side, side), person)
    if not settings.far_pairs + settings.aperture_pairs:
        return clip
    pictures = clip.pictures(range(len(clip)))
    thumbnails = torch.cat([F.adaptive_avg_pool2d(picture[None].float(), side) for picture in pictures])
    return StoredClip(path, len(clip), settings.size, points, thumbnails, person)


@lru_cache(_OPEN_FILES)
def _opened(path: Path, process: int) -> pq.ParquetFile:
    """Open a file; each process has its own, because a forked worker would share positions with its parent."""
    return pq.ParquetFile(path)
