"""Shards and batches as ranges of the hash of video ids: a video more or less changes one of them.

As in extendible hashing (Fagin et al. 1979), a range with too many videos is cut into halves, and nothing else moves. A
number of shards that follows from the number of videos, as in ``hash % count``, would move every video whenever it
changes.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from deepfakemnist.ids import seed_from

Item = TypeVar("Item", bound=tuple[Any, ...])
Value = TypeVar("Value")

#: Separate range, animator and round in the name of a shard; neither is allowed in ids.
_ANIMATOR_SEPARATOR, _ROUND_SEPARATOR = "+", "@"
#: Bits of a hash, hex digits of all of them, and the fewest in a name.
_BITS, _DIGITS, _SHORTEST = 64, 16, 4
#: Ranges are halved when they exceed the target by this factor, so that they hold the target on average.
_OVERFULL = math.sqrt(2)
#: CPU seconds that crop, animate, judge or compress take for a video of 8 s, on average (docs/scaling.md).
SECONDS_PER_VIDEO = 4.0
#: ``shard_size: auto``: shards of four videos until there are 2^6 = 64 of them, so that few videos still occupy every
#: core; from there on of as many as take ten minutes.
_AUTO_LEAST, _AUTO_DEPTH, _AUTO_MINUTES = 4, 6, 10


def videos_per_shard(shard_size: int | str) -> int:
    """Return the target number of videos of a shard for ``shard_size``: a number, minutes such as 10min, or auto.

    auto gives that of large sets, see :func:`split_into_shards`.
    """
    if isinstance(shard_size, int):
        return shard_size
    minutes = _AUTO_MINUTES if shard_size == "auto" else int(shard_size.removesuffix("min"))
    return max(round(minutes * 60 / SECONDS_PER_VIDEO), 1)


def split_into_shards(named: Sequence[tuple[str, Value]], shard_size: int | str) -> dict[str, list[Value]]:
    """Split values into shards by the video that each belongs to; values of one video stay together.

    Args:
        named: video id and value; a video may have several.
        shard_size: about how many values per shard; 1: exactly one video, and the shard has its id; 10min: as many as
            take about that long; auto: 4, and from 64 shards on as many as take ten minutes.

    Returns: shard → values, sorted by id and otherwise as given. Names are shard-NNNN, the start of the range in
        hexadecimal, so that the lower half of a range that is cut keeps the name, and the folder, of the whole.
    """
    by_video: dict[str, list[Value]] = defaultdict(list)
    for name, value in named:
        by_video[name].append(value)
    if shard_size == 1:
        return dict(by_video)
    most = videos_per_shard(shard_size)
    least = _AUTO_LEAST if shard_size == "auto" else most

    def too_large(part: list[tuple[int, str]], depth: int) -> bool:
        target = least if depth < _AUTO_DEPTH else most
        return len(part) > 1 and sum(len(by_video[name]) for _, name in part) > target * _OVERFULL

    ranges = _halve(sorted((_hash_of(name), name) for name in by_video), too_large)
    return {
        f"shard-{_name_of(start)}": [value for name in sorted(name for _, name in part) for value in by_video[name]]
        for start, part in ranges.items()
    }


class ShardOfHash:
    """Shard of a video by the hash of its id, among the shards of :func:`split_into_shards`."""

    def __init__(self, shards: Iterable[str], shard_size: int | str) -> None:
        self._single = shard_size == 1
        self._shards = {} if self._single else {_start_of(shard): shard for shard in shards}
        self._starts = sorted(self._shards)

    def __getitem__(self, video_id: str, /) -> str:
        """Return the shard of a video that is in one of them."""
        if self._single:
            return video_id
        return self._shards[self._starts[bisect_right(self._starts, _hash_of(video_id)) - 1]]


def batches(sizes: Mapping[str, int], clips: int) -> dict[str, list[str]]:
    """Group the shards of a stage, or of one of its rounds, into jobs of about ``clips`` clips.

    Unless a range is about to be cut, all have about the same size, so that 2, 4 or 8 GPUs get equally many jobs.

    Args:
        sizes: shard → number of clips.
        clips: target number of clips per job.

    Returns: job name → its shards, sorted, of one animator. Names are batch-NNNN, plus animator and round.
    """
    limit = clips * _OVERFULL
    alike: dict[str, list[str]] = defaultdict(list)
    for shard in sizes:
        alike[shard.removeprefix(range_of(shard))].append(shard)
    jobs: dict[str, list[str]] = {}
    for suffix, shards in alike.items():
        placed = sorted((_start_of(range_of(shard)), shard) for shard in shards)
        ranges = _halve(placed, lambda part, _: len(part) > 1 and sum(sizes[shard] for _, shard in part) > limit)
        jobs |= {
            f"batch-{_name_of(start)}{suffix}": sorted(shard for _, shard in part) for start, part in ranges.items()
        }
    return jobs


def batches_of(sizes: Mapping[str, int], clips: int, alone: Collection[str]) -> dict[str, list[str]]:
    """Group shards as :func:`batches` does, but make a job of each shard of some animators.

    Args:
        sizes: shard → number of clips.
        clips: target number of clips per job.
        alone: animators, as named in shards, whose jobs start at once.
    """
    return {
        **batches({shard: size for shard, size in sizes.items() if label_of(shard) not in alone}, clips),
        **batches({shard: size for shard, size in sizes.items() if label_of(shard) in alone}, 0),
    }


def shard_of_round(shard: str, number: int) -> str:
    """Return the name of the fake shard of a range of the hash in a round."""
    return f"{shard}{_ROUND_SEPARATOR}{number}"


def shard_of_animator(shard: str, label: str) -> str:
    """Return the name of the shard of an animator: that of the range, and the label unless it is empty."""
    return f"{shard}{_ANIMATOR_SEPARATOR}{label}" if label else shard


def range_of(shard: str) -> str:
    """Return the name of a shard without its animator and round."""
    return shard.split(_ROUND_SEPARATOR)[0].split(_ANIMATOR_SEPARATOR)[0]


def label_of(shard: str) -> str:
    """Return the animator in the name of a shard or batch; empty for the first one of a run."""
    return (*shard.split(_ROUND_SEPARATOR)[0].split(_ANIMATOR_SEPARATOR), "")[1]


def round_of(shard: str) -> int:
    """Return the round of a fake shard, from 1."""
    return int((*shard.split(_ROUND_SEPARATOR), "1")[1])


def _halve(placed: list[Item], too_large: Callable[[list[Item], int], bool]) -> dict[int, list[Item]]:
    """Return start → items of the ranges that halving leaves, without empty ones.

    Args:
        placed: tuples that begin with a position, 0 to 2^64 - 1, sorted.
        too_large: whether to halve a range, from its items and how often it was halved before.
    """
    ranges: dict[int, list[Item]] = {}
    waiting = [(0, 0, placed)]
    while waiting:
        start, depth, part = waiting.pop()
        if depth < _BITS and too_large(part, depth):
            middle = start + (1 << _BITS - depth - 1)
            cut = bisect_left(part, middle, key=lambda item: item[0])
            waiting += [(middle, depth + 1, part[cut:]), (start, depth + 1, part[:cut])]
        elif part:
            ranges[start] = part
    return ranges


def _hash_of(video_id: str) -> int:
    return seed_from("shard", video_id) << 1


def _name_of(start: int) -> str:
    digits = f"{start:0{_DIGITS}x}"
    return digits[:_SHORTEST] + digits[_SHORTEST:].rstrip("0")


def _start_of(shard: str) -> int:
    named = re.fullmatch(rf"shard-([0-9a-f]{{{_SHORTEST},{_DIGITS}}})", shard)
    return int(named[1].ljust(_DIGITS, "0"), 16) if named else _hash_of(shard)
