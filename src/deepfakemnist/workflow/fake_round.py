"""Fakes of one round: their shards, and which shards of sources they are made from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple, Protocol

from deepfakemnist.planning.assignment import Assignment
from deepfakemnist.workflow.sharding import batches_of, shard_of_animator, shard_of_round, split_into_shards


class ShardOf(Protocol):
    """Gives the source shard of a source video."""

    def __getitem__(self, video_id: str, /) -> str: ...


class FakeShard(NamedTuple):
    """What is known of a fake shard without its candidates."""

    fakes: int
    #: Source shards of its candidates, sorted.
    sources: list[str]


class FakeRound:
    """Fakes of a round by shard.

    Args:
        parts: fake shard → what is known of it.
        read: gives the candidates of a fake shard.
    """

    def __init__(self, parts: Mapping[str, FakeShard], read: Callable[[str], list[Assignment]]) -> None:
        self.parts, self._read = parts, read

    @classmethod
    def of(cls, candidates: Mapping[str, list[Assignment]], shard_of: ShardOf) -> FakeRound:
        """Return the round with the given candidates by fake shard."""
        parts = {
            shard: FakeShard(len(part), sorted({shard_of[one.source_id] for one in part}))
            for shard, part in candidates.items()
        }
        return cls(parts, candidates.__getitem__)

    @property
    def shards(self) -> list[str]:
        """Names of the fake shards, sorted."""
        return sorted(self.parts)

    def candidates(self, shard: str) -> list[Assignment]:
        """Return the candidates of a fake shard; none for a shard of another round."""
        return self._read(shard) if shard in self.parts else []

    def sources_of(self, shard: str) -> list[str]:
        """Return the source shards of a fake shard's candidates; none for a shard of another round."""
        return self.parts[shard].sources if shard in self.parts else []

    def fakes_of(self, source_shards: Iterable[str]) -> list[str]:
        """Return the fake shards with candidates of any of these source shards."""
        return sorted({fake for source in source_shards for fake in self._fakes_of.get(source, [])})

    def batches(self, clips: int, alone: Collection[str] = ()) -> dict[str, list[str]]:
        """Return the animation jobs of the round and the fake shards of each, see :func:`.sharding.batches_of`."""
        return batches_of({shard: part.fakes for shard, part in self.parts.items()}, clips, alone)

    @cached_property
    def _fakes_of(self) -> dict[str, list[str]]:
        by_source: dict[str, list[str]] = defaultdict(list)
        for shard, part in self.parts.items():
            for source in part.sources:
                by_source[source].append(shard)
        return dict(by_source)


def by_source_shard(
    candidates: Sequence[Assignment], shard_of: ShardOf, suffixes: Mapping[str, str]
) -> dict[str, list[Assignment]]:
    """Return the candidates of a run without rounds by shard, which are those of the sources, one per animator.

    Args:
        candidates: candidates of all animators.
        shard_of: gives the source shard of a source.
        suffixes: label of the animator → what names its shards; empty for the first animator.
    """
    shards: dict[str, list[Assignment]] = defaultdict(list)
    for one in candidates:
        shards[shard_of_animator(shard_of[one.source_id], suffixes[one.animator])].append(one)
    return dict(shards)


def by_own_number(
    candidates: Sequence[Assignment], shard_size: int | str, suffixes: Mapping[str, str]
) -> dict[str, list[Assignment]]:
    """Return the candidates of one of several rounds by shard, SHARD@ROUND, cut by how many the round has.

    Later rounds are small: in the shards of the sources, hundreds of jobs would have two candidates each. Source shards
    and fake shards are ranges of the same hash, so one contains the other, or they share nothing.

    Args:
        candidates: candidates of all animators.
        shard_size: of the config.
        suffixes: label of the animator → what names its shards; empty for the first animator.
    """
    shards: dict[str, list[Assignment]] = {}
    for suffix in suffixes.values():
        mine = [
            (one.source_id, (place, one))
            for place, one in enumerate(candidates)
            # Candidates of an animator that the config no longer has are drawn again before anything uses them.
            if suffixes.get(one.animator, "") == suffix
        ]
        for shard, part in split_into_shards(mine, shard_size).items():
            # In the order in which they were drawn, as in the shards of the sources.
            drawn = [one for _, one in sorted(part, key=lambda item: item[0])]
            shards[shard_of_round(shard_of_animator(shard, suffix), drawn[0].round)] = drawn
    return shards
