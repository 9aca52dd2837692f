"""Candidate sampling in rounds, until every action meets its quota of accepted animations.

The pool of an action is every source with every driver of that action. A round samples the missing number divided by
the pass rate so far, plus a margin; the next round samples only for actions that are short. Candidates depend on
config, seed, ids and the outcomes of earlier rounds alone, so a killed run resumes with the same ones.

A source has at most ``actions_per_source`` kept fakes, each with a different action. Sources without a candidate for an
action precede those with one, and a repeated source gets another driver.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from deepfakemnist.config.base import SPLITS
from deepfakemnist.config.stages import PlanSettings
from deepfakemnist.errors import ConfigError
from deepfakemnist.ids import seed_from
from deepfakemnist.planning.assignment import (
    NO_DRIVER,
    SOURCE_UNUSABLE,
    Assignment,
    plan_order_of,
    split_drivers,
    split_people,
)
from deepfakemnist.planning.matching import Places, action_preferences, match
from deepfakemnist.tables.files import read_rows, write_table
from deepfakemnist.tables.schemas import CANDIDATES, OK, REJECTED, Row

#: Weight of ``expected_pass_rate`` in candidates, as a prior against a pass rate measured on few verdicts.
_PRIOR_CANDIDATES = 4
#: Maximum candidates per missing animation in a round; bounds the cost of an action with a pass rate near 0.
_MAX_CANDIDATES_PER_MISSING = 8
#: Reasons why an action gets no further candidates.
FULL, POOL_EMPTY, MAX_ROUNDS = "full", "pool empty", "max_rounds"
QUOTA_COLUMNS = ("animator", "action", "wanted", "kept", "accepted", "tried", "planned", "pass_rate", "rounds", "ended")


@dataclass(frozen=True)
class CandidateOutcome:
    """Outcome of a candidate of an earlier round."""

    source_id: str
    action: str
    split: str
    round: int
    #: Planned and animated, so that it has a liveness verdict.
    animated: bool
    accepted: bool
    #: Accepted and within the quota.
    kept: bool
    #: Reason why it is not kept; empty if kept.
    reason: str
    #: Label of the animator.
    animator: str = ""


def draw_candidates(
    sources: Sequence[Row],
    drivers: Sequence[Row],
    settings: PlanSettings,
    seed: int,
    outcomes: Sequence[CandidateOutcome] = (),
    only: Collection[str] | None = None,
    everybody: Sequence[Row] | None = None,
    number: int | None = None,
) -> list[Assignment]:
    """Sample the candidates of the next round.

    Args:
        sources: rows with ``video_id`` and ``person_id``; their order does not matter.
        drivers: rows with ``action`` and ``person_id``.
        settings: quota, actions, actions_per_source, expected_pass_rate.
        seed: the run's seed.
        outcomes: outcomes of all candidates of earlier rounds.
        only: restrict to these actions; None: all.
        everybody: all sources of the run, whose people are split; None: the same.
        number: number of the round; None: the one after those of the outcomes.

    Returns: candidates sorted by split, action and ``plan_order``, which continues from earlier rounds; empty when
        every action meets its quota or the pool is exhausted.
    """
    wanted = {
        action: count
        for action, count in _candidates_needed(settings, outcomes).items()
        if count and (only is None or action in only)
    }
    if not wanted:
        return []
    if number is None:
        number = max((one.round for one in outcomes), default=0) + 1
    everybody = everybody or sources
    splits = split_people([row["person_id"] for row in everybody], settings, seed)
    used = Counter((one.source_id, one.action) for one in outcomes)
    driver_splits = split_drivers(everybody, drivers, settings, seed)
    drivers_of = {action: _DriverCount(drivers, action, splits, driver_splits) for action in wanted}
    available = _available(sources, outcomes, used, drivers_of)
    kept = Counter(one.source_id for one in outcomes if one.kept)
    order = {row["video_id"]: seed_from(seed, "source", row["video_id"]) for row in sources}
    taken = match(
        {
            source: [action for action in actions if (source, action) in available]
            for source, actions in action_preferences(
                sources, settings.actions, settings.actions_per_source, seed
            ).items()
        },
        {source: settings.actions_per_source - kept[source] for source in order},
        {
            action: Places(count, _places_of_splits(action, count, settings, outcomes, seed))
            for action, count in wanted.items()
        },
        # Unused sources first.
        lambda source, action: (used[source, action] << 63) + order[source],
        {row["video_id"]: splits[row["person_id"]] for row in sources},
    )
    person = {row["video_id"]: row["person_id"] for row in sources}
    assignments = [
        Assignment(
            source, person[source], action, splits[person[source]],
            plan_order_of(source, action, seed, number), number, used[source, action],
        )
        for source, actions in taken.items()
        for action in actions
    ]  # fmt: skip
    return sorted(assignments, key=lambda a: (SPLITS.index(a.split), a.action, a.plan_order))


def _candidates_needed(settings: PlanSettings, outcomes: Sequence[CandidateOutcome]) -> dict[str, int]:
    """Return the number of candidates per action for the next round.

    Enough to meet the quota on average, plus one standard deviation, which avoids a small last round.
    """
    planned = Counter(one.action for one in outcomes)
    accepted = Counter(one.action for one in outcomes if one.accepted)
    wanted: dict[str, int] = {}
    for action in settings.actions:
        need = max((settings.quota or 0) - accepted[action], 0)
        hits = accepted[action] + settings.expected_pass_rate * _PRIOR_CANDIDATES
        rate = hits / (planned[action] + _PRIOR_CANDIDATES)
        wanted[action] = min(
            math.ceil((need + math.sqrt(need * (1 - rate))) / rate), need * _MAX_CANDIDATES_PER_MISSING
        )
    return wanted


def _available(
    sources: Sequence[Row],
    outcomes: Sequence[CandidateOutcome],
    used: Mapping[tuple[str, str], int],
    drivers_of: Mapping[str, _DriverCount],
) -> set[tuple[str, str]]:
    """Return the pairs of source and action that may get another candidate."""
    closed = {(one.source_id, one.action) for one in outcomes if one.kept or one.reason == NO_DRIVER}
    unusable = {one.source_id for one in outcomes if one.reason == SOURCE_UNUSABLE}
    usable = [row for row in sources if row["video_id"] not in unusable]
    pairs = set()
    for action, available in drivers_of.items():
        for row in usable:
            pair = (row["video_id"], action)
            if pair not in closed and used.get(pair, 0) < available.of(row["person_id"]):
                pairs.add(pair)
    return pairs


def _places_of_splits(
    action: str, count: int, settings: PlanSettings, outcomes: Sequence[CandidateOutcome], seed: int
) -> dict[str, int]:
    """Return how many of an action's next candidates are reserved for each split, so that all follow its fraction."""
    planned = Counter(one.split for one in outcomes if one.action == action)
    total = sum(planned.values()) + count
    # Rounding favours other splits in each action.
    fraction = seed_from(seed, "places", action) / 2**63
    bounds = [math.floor(bound * total + fraction) for bound in accumulate(settings.shares.values(), initial=0.0)]
    return {
        split: max(end - start - planned[split], 0)
        for split, (start, end) in zip(settings.shares, pairwise(bounds), strict=True)
    }


class _DriverCount:
    """Number of drivers of an action per source, without the source's own person unless there is no other.

    Args:
        drivers: rows with ``action`` and ``person_id``.
        action: the action.
        splits: split of the sources' people.
        driver_splits: split of the drivers' people, if they are dealt to splits.
    """

    def __init__(
        self,
        drivers: Sequence[Row],
        action: str,
        splits: Mapping[str, str],
        driver_splits: Mapping[str, str] | None,
    ) -> None:
        people = [row["person_id"] for row in drivers if row["action"] == action]
        self._of_person = Counter(people)
        # One count for all sources where the splits share the drivers.
        self._in_split = Counter(driver_splits[person] if driver_splits else "" for person in people)
        self._split_of = splits if driver_splits else dict.fromkeys(splits, "")

    def of(self, person: str) -> int:
        """Return the number of drivers for a source of ``person``; who drives as well does so in that split too."""
        in_split = self._in_split[self._split_of[person]]
        return in_split - self._of_person[person] or in_split


def apply_quota(selected: Sequence[Row], quota: int | Mapping[str, int] | None) -> list[Row]:
    """Keep the first accepted fakes per animator and action, from the splits in proportion to their size.

    Args:
        selected: rows of SELECTED.
        quota: how many, or label of the animator → how many; None: all.
    """
    if quota is None:
        return list(selected)
    of_split: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in sorted(selected, key=lambda row: (row["plan_order"], row["video_id"])):
        of_split[row.get("animator") or "", row["action"], row["split"]].append(row)
    share = {row["video_id"]: place / len(rows) for rows in of_split.values() for place, row in enumerate(rows)}
    accepted = sorted(
        (row for row in selected if row["status"] == OK),
        key=lambda row: (share[row["video_id"]], row["split"], row["video_id"]),
    )
    kept: Counter[tuple[str, str]] = Counter()
    over: dict[str, int] = {}
    for row in accepted:
        animator = row.get("animator") or ""
        most = quota if isinstance(quota, int) else quota[animator]
        if kept[animator, row["action"]] >= most:
            over[row["video_id"]] = most
        kept[animator, row["action"]] += 1
    status = {"status": REJECTED, "reason": "over_quota"}
    detail = "passed, but its action already has {} fakes"
    return [
        {**row, **status, "detail": detail.format(over[row["video_id"]])} if row["video_id"] in over else row
        for row in selected
    ]


def read_outcomes(
    plans: Sequence[Path | str], selected: Sequence[Path | str], quota: int | Mapping[str, int] | None
) -> list[CandidateOutcome]:
    """Return the outcome of every candidate.

    Args:
        plans: PLANNED tables of all rounds so far.
        selected: SELECTED tables of the same rounds.
        quota: see :func:`apply_quota`.
    """
    verdicts = {row["video_id"]: row for row in apply_quota(read_rows(selected), quota)}
    outcomes = []
    for row in read_rows(plans):
        verdict = verdicts.get(row["video_id"])
        ended = row if verdict is None else verdict
        kept = verdict is not None and verdict["status"] == OK
        over = verdict is not None and verdict["reason"] == "over_quota"
        outcomes.append(
            CandidateOutcome(
                row["source_id"], row["action"], row["split"], row["round"],
                animated=verdict is not None, accepted=kept or over, kept=kept,
                reason="" if kept else ended["reason"] or "not_animated", animator=row.get("animator") or "",
            )
        )  # fmt: skip
    return outcomes


def write_candidates(assignments: Sequence[Assignment], table: Path) -> None:
    """Write the CANDIDATES table of a round. An empty table ends the rounds."""
    rows = [
        {
            "source_id": one.source_id, "person_id": one.person_id, "action": one.action, "split": one.split,
            "plan_order": one.plan_order, "round": one.round, "turn": one.turn,
            "animator": one.animator,
        }
        for one in assignments
    ]  # fmt: skip
    write_table(rows, table, CANDIDATES)


def read_candidates(table: Path) -> list[Assignment]:
    """Read the CANDIDATES table of a round."""
    return [Assignment(**row) for row in read_rows(table)]


def quota_summary(
    sources: Sequence[Row],
    drivers: Sequence[Row],
    settings: PlanSettings,
    seed: int,
    outcomes: Sequence[CandidateOutcome],
    everybody: Sequence[Row] | None = None,
) -> list[Row]:
    """Return one row per action (``QUOTA_COLUMNS``): counts, pass rate and why its rounds ended.

    Arguments are those of :func:`draw_candidates`.
    """
    rows = []
    for action in settings.actions:
        mine = [one for one in outcomes if one.action == action]
        animated, accepted = sum(one.animated for one in mine), sum(one.accepted for one in mine)
        if accepted >= (settings.quota or 0):
            ended = FULL
        else:
            more = draw_candidates(sources, drivers, settings, seed, outcomes, only=[action], everybody=everybody)
            ended = MAX_ROUNDS if more else POOL_EMPTY
        rows.append(
            {
                "animator": "", "action": action, "wanted": settings.quota, "kept": sum(one.kept for one in mine),
                "accepted": accepted, "tried": animated, "planned": len(mine),
                "pass_rate": accepted / animated if animated else None,
                "rounds": max((one.round for one in mine), default=0), "ended": ended,
            }
        )  # fmt: skip
    return rows


def shortfall(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a message with the quota table; empty when every action meets its quota."""
    short = [row for row in rows if row["ended"] != FULL]
    if not short:
        return ""
    lines = ["\t".join(QUOTA_COLUMNS)]
    for row in rows:
        rate = "" if row["pass_rate"] is None else f"{row['pass_rate']:.3f}"
        lines.append("\t".join(rate if name == "pass_rate" else str(row[name]) for name in QUOTA_COLUMNS))
    several = len({row["animator"] for row in rows}) > 1
    named = [f"{row['action']} by {row['animator']}" if several else row["action"] for row in short]
    return f"plan.quota is not met for {', '.join(named)}:\n" + "\n".join(lines)


def check_shortfall(rows: Sequence[Mapping[str, Any]], settings: PlanSettings) -> str:
    """Return the message of ``shortfall``. Raises ConfigError with it if ``on_shortfall`` is fail."""
    text = shortfall(rows)
    if text and settings.on_shortfall == "fail":
        raise ConfigError(
            f"{text}\nAdd sources or drivers, raise plan.max_rounds or plan.actions_per_source, or accept the "
            "shortfall with plan.on_shortfall: warn. All results are kept."
        )
    return text
