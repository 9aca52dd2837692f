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
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepfakemnist.config.base import SPLITS
from deepfakemnist.config.stages import PlanSettings
from deepfakemnist.errors import ConfigError
from deepfakemnist.ids import seed_from
from deepfakemnist.planning.assignment import NO_DRIVER, SOURCE_UNUSABLE, Assignment, split_people
from deepfakemnist.tables.files import read_rows, write_table
from deepfakemnist.tables.schemas import CANDIDATES, OK, REJECTED, Row

#: Weight of ``expected_pass_rate`` in candidates, as a prior against a pass rate measured on few verdicts.
_PRIOR_CANDIDATES = 4
#: Maximum candidates per missing animation in a round; bounds the cost of an action with a pass rate near 0.
_MAX_CANDIDATES_PER_MISSING = 8
#: Reasons why an action gets no further candidates.
FULL, POOL_EMPTY, MAX_ROUNDS = "full", "pool empty", "max_rounds"
QUOTA_COLUMNS = ("action", "wanted", "kept", "accepted", "tried", "planned", "pass_rate", "rounds", "ended")


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


def draw_candidates(
    sources: Sequence[Row],
    drivers: Sequence[Row],
    settings: PlanSettings,
    seed: int,
    outcomes: Sequence[CandidateOutcome] = (),
    only: Collection[str] | None = None,
) -> list[Assignment]:
    """Sample the candidates of the next round.

    Args:
        sources: rows with ``video_id`` and ``person_id``; their order does not matter.
        drivers: rows with ``action`` and ``person_id``.
        settings: quota, actions, actions_per_source, expected_pass_rate.
        seed: the run's seed.
        outcomes: outcomes of all candidates of earlier rounds.
        only: restrict to these actions; None: all.

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
    number = max((one.round for one in outcomes), default=0) + 1
    pool = _Pool(sources, drivers, settings, seed, outcomes, wanted)
    order = sorted(wanted, key=lambda action: seed_from(seed, "round", number, action))
    assignments = []
    while wanted:
        for action in order:
            if action in wanted:
                assignment = pool.take(action, number)
                wanted[action] -= 1
                if assignment:
                    assignments.append(assignment)
                if not assignment or not wanted[action]:
                    del wanted[action]
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


class _Pool:
    """Remaining candidates per action and split."""

    def __init__(
        self,
        sources: Sequence[Row],
        drivers: Sequence[Row],
        settings: PlanSettings,
        seed: int,
        outcomes: Sequence[CandidateOutcome],
        actions: Iterable[str],
    ) -> None:
        used = Counter((one.source_id, one.action) for one in outcomes)
        closed = {(one.source_id, one.action) for one in outcomes if one.kept or one.reason == NO_DRIVER}
        unusable = {one.source_id for one in outcomes if one.reason == SOURCE_UNUSABLE}
        kept = Counter(one.source_id for one in outcomes if one.kept)
        splits = split_people([row["person_id"] for row in sources], settings, seed)
        self._room = {row["video_id"]: settings.actions_per_source - kept[row["video_id"]] for row in sources}
        self._share = {
            split: sum(splits[row["person_id"]] == split for row in sources) / len(sources) for split in SPLITS
        }
        self._planned = Counter((one.action, one.split) for one in outcomes)
        self._queues: dict[tuple[str, str], list[Row]] = defaultdict(list)
        for action in actions:
            available = _DriverCount(drivers, action)
            for row in sources:
                name = row["video_id"]
                pair = (name, action)
                if name in unusable or pair in closed or used[pair] >= available.of(row["person_id"]):
                    continue
                rank = (used[pair], seed_from(seed, action, name))
                self._queues[action, splits[row["person_id"]]].append({**row, "rank": rank, "turn": used[pair]})
        for queue in self._queues.values():
            queue.sort(key=lambda row: row["rank"], reverse=True)  # popped from the end

    def take(self, action: str, number: int) -> Assignment | None:
        """Take the next candidate of an action, from the most under-represented split; None if the pool is empty."""
        for split in SPLITS:
            queue = self._queues[action, split]
            while queue and self._room[queue[-1]["video_id"]] <= 0:
                queue.pop()
        open_splits = [split for split in SPLITS if self._queues[action, split]]
        if not open_splits:
            return None
        total = sum(self._planned[action, split] for split in SPLITS) + 1
        split = max(open_splits, key=lambda name: self._share[name] * total - self._planned[action, name])
        row = self._queues[action, split].pop()
        order = self._planned[action, split]
        self._planned[action, split] += 1
        self._room[row["video_id"]] -= 1
        return Assignment(row["video_id"], row["person_id"], action, split, order, number, row["turn"])


class _DriverCount:
    """Number of drivers of an action per source, without the source's own person unless there is no other."""

    def __init__(self, drivers: Sequence[Row], action: str) -> None:
        people = [row["person_id"] for row in drivers if row["action"] == action]
        self._of_person, self._all = Counter(people), len(people)

    def of(self, person: str) -> int:
        """Return the number of drivers for a source of ``person``."""
        return self._all - self._of_person[person] or self._all


def apply_quota(selected: Sequence[Row], quota: int | None) -> list[Row]:
    """Keep the first ``quota`` accepted fakes per action, from the splits in proportion to their size."""
    if quota is None:
        return list(selected)
    size = Counter((row["action"], row["split"]) for row in selected)
    accepted = sorted(
        (row for row in selected if row["status"] == OK),
        key=lambda row: (row["plan_order"] / size[row["action"], row["split"]], row["split"]),
    )
    kept: Counter[str] = Counter()
    over = set()
    for row in accepted:
        if kept[row["action"]] >= quota:
            over.add(row["video_id"])
        kept[row["action"]] += 1
    detail = f"passed, but its action already has {quota} fakes"
    status = {"status": REJECTED, "reason": "over_quota", "detail": detail}
    return [{**row, **status} if row["video_id"] in over else row for row in selected]


def read_outcomes(
    plans: Sequence[Path | str], selected: Sequence[Path | str], quota: int | None
) -> list[CandidateOutcome]:
    """Return the outcome of every candidate.

    Args:
        plans: PLANNED tables of all rounds so far.
        selected: SELECTED tables of the same rounds.
        quota: fakes kept per action.
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
                reason="" if kept else ended["reason"] or "not_animated",
            )
        )  # fmt: skip
    return outcomes


def write_candidates(assignments: Sequence[Assignment], table: Path) -> None:
    """Write the CANDIDATES table of a round. An empty table ends the rounds."""
    rows = [
        {
            "source_id": one.source_id, "person_id": one.person_id, "action": one.action, "split": one.split,
            "plan_order": one.plan_order, "round": one.round, "turn": one.turn,
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
) -> list[Row]:
    """Return one row per action (``QUOTA_COLUMNS``): counts, pass rate and why its rounds ended."""
    rows = []
    for action in settings.actions:
        mine = [one for one in outcomes if one.action == action]
        animated, accepted = sum(one.animated for one in mine), sum(one.accepted for one in mine)
        if accepted >= (settings.quota or 0):
            ended = FULL
        else:
            ended = (
                MAX_ROUNDS if draw_candidates(sources, drivers, settings, seed, outcomes, only=[action]) else POOL_EMPTY
            )
        rows.append(
            {
                "action": action, "wanted": settings.quota, "kept": sum(one.kept for one in mine),
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
    return f"plan.quota is not met for {', '.join(row['action'] for row in short)}:\n" + "\n".join(lines)


def check_shortfall(rows: Sequence[Mapping[str, Any]], settings: PlanSettings) -> str:
    """Return the message of ``shortfall``. Raises ConfigError with it if ``on_shortfall`` is fail."""
    text = shortfall(rows)
    if text and settings.on_shortfall == "fail":
        raise ConfigError(
            f"{text}\nAdd sources or drivers, raise plan.max_rounds or plan.actions_per_source, or accept the "
            "shortfall with plan.on_shortfall: warn. All results are kept."
        )
    return text
