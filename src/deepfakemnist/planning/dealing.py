"""Sources dealt to the animators of a run, and what each of them has to make.

A source belongs to one animator, so that detectors can be tested on fakes of an animator they have not seen, from
videos they have not seen either. Within an animator, actions and rounds are planned as in a run with that one alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise

from deepfakemnist.config.animators.base import AnimatorSettings
from deepfakemnist.config.base import SPLITS
from deepfakemnist.config.stages import PlanSettings
from deepfakemnist.ids import seed_from
from deepfakemnist.planning.assignment import Assignment, assign, slack_of, split_people
from deepfakemnist.planning.matching import Places, match
from deepfakemnist.planning.rounds import CandidateOutcome, draw_candidates, quota_summary
from deepfakemnist.tables.schemas import Row


def deal(
    sources: Sequence[Row], animators: Sequence[AnimatorSettings], plan: PlanSettings, seed: int
) -> dict[str, list[Row]]:
    """Deal every source to an animator, by seeded hashes of its id and the shares, within every split.

    By rendezvous hashing (Thaler and Ravishankar 1998): an animator more takes its share from the others and moves
    little between those, and a source more or less moves hardly any other. Small splits meet the shares as exactly as
    their number allows, at the price of a few more moves.

    Args:
        sources: rows with ``video_id`` and ``person_id``.
        animators: animators of the run.
        plan: fractions of the splits.
        seed: the run's seed.

    Returns: label → sources, in the order given.
    """
    shares = _shares(animators)
    if len(shares) == 1:
        return {label: list(sources) for label in shares}
    splits = split_people([row["person_id"] for row in sources], plan, seed)
    animator_of: dict[str, str] = {}
    for split in SPLITS:
        members = [row["video_id"] for row in sources if splits[row["person_id"]] == split]
        animator_of |= _dealt(members, shares, seed, split)
    return {label: [row for row in sources if animator_of[row["video_id"]] == label] for label in shares}


def _shares(animators: Sequence[AnimatorSettings]) -> dict[str, float]:
    total = sum(one.share for one in animators)
    return {one.named: one.share / total for one in animators}


def _dealt(videos: Sequence[str], shares: Mapping[str, float], seed: int, split: str) -> dict[str, str]:
    """Return video → label of the videos of a split."""

    def distance(video: str, label: str) -> float:
        # Exponentially distributed with its share as rate: each label is nearest with the probability of its share.
        return -math.log((seed_from(seed, "animator", label, video) + 1) / 2**63) / shares[label]

    preferences = {video: sorted(shares, key=lambda label: distance(video, label)) for video in videos}
    # Rounding favours other animators in each split.
    fraction = seed_from(seed, "animators", split) / 2**63
    bounds = [math.floor(bound * len(videos) + fraction) for bound in accumulate(shares.values(), initial=0.0)]
    bounds[-1] = len(videos)
    spare = int(slack_of(len(videos)))
    places = {label: Places(end - start + spare) for label, (start, end) in zip(shares, pairwise(bounds), strict=True)}
    order = {video: seed_from(seed, "source", video) for video in videos}
    taken = match(preferences, dict.fromkeys(videos, 1), places, lambda video, _: order[video])
    return {video: label for video, (label,) in taken.items()}


def quotas(animators: Sequence[AnimatorSettings], plan: PlanSettings) -> dict[str, int] | None:
    """Return label → fakes to keep per action; None if the plan has no quota.

    An animator without a quota of its own has its share of ``plan.quota``; remainders go to the first ones.
    """
    if plan.quota is None:
        return None
    exact = [plan.quota * share for share in _shares(animators).values()]
    rounded = [int(value) for value in exact]
    by_remainder = sorted(range(len(exact)), key=lambda place: rounded[place] - exact[place])
    for place in by_remainder[: plan.quota - sum(rounded)]:
        rounded[place] += 1
    return {one.named: one.quota or count for one, count in zip(animators, rounded, strict=True)}


class Plans:
    """Plans of all animators of a run.

    Args:
        sources: rows with ``video_id`` and ``person_id``.
        drivers: rows with ``video_id``, ``action`` and ``person_id``; every animator has all of them.
        animators: animators of the run.
        plan: quota, actions, rounds and splits.
        seed: the run's seed.
    """

    def __init__(
        self,
        sources: Sequence[Row],
        drivers: Sequence[Row],
        animators: Sequence[AnimatorSettings],
        plan: PlanSettings,
        seed: int,
    ) -> None:
        self._everybody, self._drivers, self._seed, self._plan = sources, drivers, seed, plan
        self.dealt = deal(sources, animators, plan, seed)
        self._quotas = quotas(animators, plan)

    def assign(self) -> dict[str, list[Assignment]]:
        """Return label → candidates of a run without rounds."""
        return {
            label: [replace(one, animator=label) for one in assign(mine, self._plan, self._seed, self._everybody)]
            for label, mine in self.dealt.items()
        }

    def draw(self, outcomes: Sequence[CandidateOutcome] = ()) -> list[Assignment]:
        """Return the candidates of the next round, of all animators."""
        number = max((one.round for one in outcomes), default=0) + 1
        return [
            replace(one, animator=label)
            for label, mine in self.dealt.items()
            for one in draw_candidates(mine, *self._asked(label, outcomes), everybody=self._everybody, number=number)
        ]

    def summary(self, outcomes: Sequence[CandidateOutcome]) -> list[Row]:
        """Return one row per animator and action, see :func:`.rounds.quota_summary`."""
        return [
            {**row, "animator": label}
            for label, mine in self.dealt.items()
            for row in quota_summary(mine, *self._asked(label, outcomes), everybody=self._everybody)
        ]

    def _asked(
        self, label: str, outcomes: Sequence[CandidateOutcome]
    ) -> tuple[Sequence[Row], PlanSettings, int, list[CandidateOutcome]]:
        """Return drivers, plan with its quota, seed and own outcomes of an animator."""
        plan = self._plan.model_copy(update={"quota": self._quotas and self._quotas[label]})
        return self._drivers, plan, self._seed, [one for one in outcomes if one.animator == label]
