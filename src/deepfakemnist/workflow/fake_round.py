"""Fakes of one round: their shards, and which shards of sources they are made from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

from deepfakemnist.planning.assignment import Assignment
from deepfakemnist.workflow.sharding import batches, shard_of_round, split_into_shards


class FakeRound:
    """Candidates of a round by fake shard.

    Args:
        candidates: fake shard → its candidates, at least one.
        shard_of: source video → its source shard.
    """

    def __init__(self, candidates: Mapping[str, list[Assignment]], shard_of: Mapping[str, str]) -> None:
        self.candidates, self._shard_of = candidates, shard_of

    @classmethod
    def only(cls, candidates: Sequence[Assignment], shard_of: Mapping[str, str]) -> FakeRound:
        """Return the only round of a run, with the shards of the sources."""
        shards: dict[str, list[Assignment]] = defaultdict(list)
        for one in candidates:
            shards[shard_of[one.source_id]].append(one)
        return cls(shards, shard_of)

    @classmethod
    def numbered(
        cls, candidates: Sequence[Assignment], shard_of: Mapping[str, str], shard_size: int | str
    ) -> FakeRound:
        """Return one of several rounds, in shards SHARD@ROUND that are cut by its own number of candidates.

        Later rounds are small: in the shards of the sources, hundreds of jobs would have two candidates each. Source
        shards and fake shards are ranges of the same hash, so one contains the other, or they share nothing.
        """
        parts = split_into_shards([(one.source_id, one) for one in candidates], shard_size)
        return cls({shard_of_round(shard, part[0].round): part for shard, part in parts.items()}, shard_of)

    @property
    def shards(self) -> list[str]:
        """Names of the fake shards, sorted."""
        return sorted(self.candidates)

    def sources_of(self, shard: str) -> list[str]:
        """Return the source shards of a fake shard's candidates; none for a shard of another round."""
        return sorted({self._shard_of[one.source_id] for one in self.candidates.get(shard, [])})

    def fakes_of(self, source_shards: Iterable[str]) -> list[str]:
        """Return the fake shards with candidates of any of these source shards."""
        return sorted({fake for source in source_shards for fake in self._fakes_of.get(source, [])})

    def batches(self, clips: int) -> dict[str, list[str]]:
        """Return the animation jobs of the round, of about ``clips`` fakes each, and the fake shards of each."""
        return batches({shard: len(part) for shard, part in self.candidates.items()}, clips)

    @cached_property
    def _fakes_of(self) -> dict[str, list[str]]:
        by_source: dict[str, list[str]] = defaultdict(list)
        for shard in self.shards:
            for source in self.sources_of(shard):
                by_source[source].append(shard)
        return dict(by_source)
