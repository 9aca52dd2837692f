"""Matching of sources to actions by deferred acceptance, so that one source more or less changes few others.

Dealing actions in turn balances them exactly, but one source more shifts all later ones. Here every source prefers
actions by a hash of its own, and takes the first that has a place (Gale and Shapley 1962). The order of the sources
does not matter, and a source more or less displaces a short chain of others. Some places beyond the mean keep the
chains short (``benchmarks/growth.py``).
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import islice

from deepfakemnist.ids import seed_from
from deepfakemnist.tables.schemas import Row

#: Places of an action beyond the mean number of sources, and how many it may lack.
SLACK = 3.0


class Places:
    """Places of an action, kept by the sources with the lowest rank. Groups of sources may have reserved places."""

    def __init__(self, count: int, reserved: Mapping[str, int] | None = None) -> None:
        """Args: number of places; group → places that other groups get only if the group leaves them empty."""
        self._count = count
        self._reserved = reserved or {}
        self._held: dict[str, list[tuple[int, str]]] = defaultdict(list)
        self._taken = 0

    def offer(self, source: str, rank: int, group: str) -> str | None:
        """Take a source in; return the source that loses its place by that, perhaps the same, if all are taken."""
        heapq.heappush(self._held[group], (-rank, source))
        if self._taken < self._count:
            self._taken += 1
            return None
        beyond = [held for name, held in self._held.items() if len(held) > self._reserved.get(name, 0)]
        return heapq.heappop(min(beyond, key=lambda held: held[0]))[1]


def rank_of(source: str, action: str, seed: int) -> int:
    """Return the seeded rank of a source for an action; the lower, the earlier in the plan."""
    return seed_from(seed, action, source)


def action_preferences(
    sources: Sequence[Row], actions: Sequence[str], per_source: int, seed: int
) -> dict[str, list[str]]:
    """Return every source's actions, most preferred first: by rank, but those of the person's other videos later.

    Args:
        sources: rows with ``video_id`` and ``person_id``.
        actions: all actions.
        per_source: how many of its preferred actions a source will take.
        seed: the run's seed.
    """
    videos: dict[str, list[str]] = defaultdict(list)
    for row in sources:
        videos[row["person_id"]].append(row["video_id"])
    preferences: dict[str, list[str]] = {}
    for own in videos.values():
        taken: Counter[str] = Counter()
        for video in sorted(own, key=lambda name: seed_from(seed, "source", name)):
            ranks = {action: rank_of(video, action, seed) for action in actions}
            preferences[video] = sorted(actions, key=lambda action: (taken[action], ranks[action]))
            taken.update(preferences[video][:per_source])
    return preferences


def match(
    preferences: Mapping[str, Sequence[str]],
    wanted: Mapping[str, int],
    places: Mapping[str, Places],
    rank: Callable[[str, str], int],
    group: Mapping[str, str] | None = None,
) -> dict[str, list[str]]:
    """Match sources to actions, stably: a source that an action refuses ranks below all that have a place there.

    Args:
        preferences: source → actions that it may take, most preferred first.
        wanted: source → number of actions that it takes.
        places: action → its places, empty.
        rank: rank of a source for an action; the lowest keep their places.
        group: source → its group, see Places; None: one group.

    Returns: source → actions, as many as wanted unless those it may take are full.
    """
    taken: dict[str, list[str]] = {source: [] for source in preferences}
    remaining = {source: iter(actions) for source, actions in preferences.items()}
    waiting = list(preferences)
    while waiting:
        source = waiting.pop()
        while len(taken[source]) < wanted[source] and (action := next(remaining[source], None)):
            taken[source].append(action)
            refused = places[action].offer(source, rank(source, action), group[source] if group else "")
            if refused is not None:
                taken[refused].remove(action)
                if refused != source:
                    waiting.append(refused)
    return taken


def balance(
    preferences: Mapping[str, Sequence[str]], each: int, seed: int, split: str, slack: float = SLACK
) -> dict[str, list[str]]:
    """Assign ``each`` actions to every source of a split, so that all actions get about equally many sources.

    The number of sources of an action is within ``slack`` of the mean, apart from rounding, and not 0 if there are as
    many assignments as actions.

    Args:
        preferences: source → all actions, most preferred first.
        each: actions per source.
        seed: the run's seed.
        split: name of the split, so that rounding favours other actions in each.
        slack: 0 to 3; less balances better and lengthens the chains.

    Returns: source → its actions.
    """
    if not preferences:
        return {}
    actions = sorted(next(iter(preferences.values())), key=lambda action: seed_from(seed, split, action))
    mean = len(preferences) * each / len(actions)
    # The fractions differ, so that one source more or less changes the places of one action and not of all.
    limit = mean + slack
    places = {action: Places(math.floor(limit + place / len(actions))) for place, action in enumerate(actions)}
    order = {source: seed_from(seed, "source", source) for source in preferences}
    taken = match(preferences, dict.fromkeys(preferences, each), places, lambda source, action: order[source])
    for source, own in taken.items():
        # With several actions per source, those with places left may all be its own.
        others = (action for action in preferences[source] if action not in own)
        own.extend(islice(others, each - len(own)))
    _fill_up(taken, actions, max(math.floor(mean - slack), min(math.floor(mean), 1)), mean, seed)
    return taken


def _fill_up(taken: dict[str, list[str]], actions: Sequence[str], least: int, mean: float, seed: int) -> None:
    """Move sources to actions with fewer than ``least`` of them, from actions with more than ``mean``."""
    counts = Counter(action for own in taken.values() for action in own)
    for action in actions:
        if counts[action] >= least:
            continue
        for source in sorted(taken, key=lambda source: rank_of(source, action, seed)):
            plenty = [other for other in taken[source] if counts[other] > mean]
            if plenty and action not in taken[source]:
                other = max(plenty, key=lambda other: rank_of(source, other, seed))
                taken[source][taken[source].index(other)] = action
                counts.update({action: 1, other: -1})
            if counts[action] >= least:
                break
