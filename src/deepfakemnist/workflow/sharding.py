"""Shards and batches as ranges of the hash of video ids: a video more or less changes one of them.

As in extendible hashing (Fagin et al. 1979), a range with too many videos is cut into halves, and nothing else moves. A
number of shards that follows from the number of videos, as in ``hash % count``, would move every video whenever it
changes.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from deepfakemnist.ids import seed_from
from deepfakemnist.tables.schemas import Row

Item = TypeVar("Item", bound=tuple[Any, ...])

#: Separates source shard and round in the name of a fake shard; not allowed in ids.
_ROUND_SEPARATOR = "@"
#: Bits of a hash, hex digits of all of them, and the fewest in a name.
_BITS, _DIGITS, _SHORTEST = 64, 16, 4
#: Ranges are halved when they exceed the target by this factor, so that they hold the target on average.
_OVERFULL = math.sqrt(2)
#: ``shard_size: auto`` has 2^9 = 512 ranges: enough jobs for a cluster, few enough for Snakemake to plan. Of fewer than
#: 200 videos, most have one to themselves.
_AUTO_DEPTH = 9


def split_into_shards(rows: Sequence[Row], shard_size: int | str) -> dict[str, list[Row]]:
    """Split rows into shards, each sorted by id.

    Args:
        rows: rows with ``video_id``.
        shard_size: about how many videos per shard; 1: exactly one, and the shard has its id; auto: 512 ranges of equal
            width.

    Returns: shard → rows. Names are shard-NNNN, the start of the range in hexadecimal, so that the lower half of a
        range that is cut keeps the name, and the folder, of the whole.
    """
    if shard_size == 1:
        return {row["video_id"]: [row] for row in rows}
    placed = sorted((_hash_of(row["video_id"]), row["video_id"], row) for row in rows)
    if shard_size == "auto":
        ranges = _halve(placed, lambda part, depth: depth < _AUTO_DEPTH)
    else:
        ranges = _halve(placed, lambda part, _: len(part) > int(shard_size) * _OVERFULL)
    return {
        f"shard-{_name_of(start)}": [row for *_, row in sorted(part, key=lambda one: one[1])]
        for start, part in ranges.items()
    }


def batches(sizes: Mapping[str, int], clips: int) -> dict[str, list[str]]:
    """Group the shards of a stage, or of one of its rounds, into jobs of about ``clips`` clips.

    Unless a range is about to be cut, all have about the same size, so that 2, 4 or 8 GPUs get equally many jobs.

    Args:
        sizes: shard → number of clips.
        clips: target number of clips per job.

    Returns: job name → its shards, sorted. Names are batch-NNNN, plus the round of the shards.
    """
    placed = sorted((_start_of(source_shard(shard)), shard) for shard in sizes)
    limit = clips * _OVERFULL
    ranges = _halve(placed, lambda part, _: len(part) > 1 and sum(sizes[shard] for _, shard in part) > limit)
    jobs: dict[str, list[str]] = defaultdict(list)
    for start, part in ranges.items():
        for _, shard in part:
            jobs[f"batch-{_name_of(start)}{shard.removeprefix(source_shard(shard))}"].append(shard)
    return {job: sorted(shards) for job, shards in jobs.items()}


def shard_of_round(shard: str, number: int) -> str:
    """Return the fake shard of a source shard and a round."""
    return f"{shard}{_ROUND_SEPARATOR}{number}"


def source_shard(shard: str) -> str:
    """Return the source shard of a fake shard; a source shard is returned unchanged."""
    return shard.split(_ROUND_SEPARATOR)[0]


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
