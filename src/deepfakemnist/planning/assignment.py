"""Deterministic assignment of actions, drivers and splits to sources.

The assignment depends on ids, people and the seed alone. It is known before any video is read, so a dry run is exact,
and a changed source video affects no other source. A person more or less changes nobody else's split and the actions of
few others (``matching.py``). Whether a source and its drivers are usable is resolved per shard. With rounds
(``rounds.py``) this holds for the first round; later rounds depend on liveness verdicts too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deepfakemnist.config.base import SPLITS
from deepfakemnist.config.stages import PlanSettings
from deepfakemnist.errors import Rejected
from deepfakemnist.ids import pair_id, seed_from
from deepfakemnist.planning.matching import SLACK, action_preferences, balance, rank_of
from deepfakemnist.planning.partition import partition
from deepfakemnist.tables.columns import BEST_FRAME
from deepfakemnist.tables.files import read_rows
from deepfakemnist.tables.schemas import OK, PLANNED, Row
from deepfakemnist.tables.shards import Tally, run_shard

#: Reasons for rejecting a candidate in the plan.
NO_DRIVER, SOURCE_UNUSABLE = "no_driver", "source_unusable"
#: Sets of fewer sources are balanced more tightly, where an action too few is more of a loss than a few changes.
_BALANCED_BELOW = 50
#: Bits of ``plan_order`` within a round; the round is above them, in a 64-bit integer.
_ORDER_BITS = 48


@dataclass(frozen=True)
class Assignment:
    """Source and action of a candidate, before a driver is chosen."""

    source_id: str
    person_id: str
    action: str
    split: str
    plan_order: int
    #: Planning round, from 1.
    round: int = 1
    #: Number of earlier candidates of this source and action; each has another driver.
    turn: int = 0
    #: Label of the animator that the source is dealt to.
    animator: str = ""


def plan_order_of(source_id: str, action: str, seed: int, number: int = 1) -> int:
    """Return the place of a candidate in the order in which a quota is filled: seeded, earlier rounds first."""
    return (number - 1 << _ORDER_BITS) + (rank_of(source_id, action, seed) >> 63 - _ORDER_BITS)


def split_people(people: Iterable[str], settings: PlanSettings, seed: int) -> dict[str, str]:
    """Assign each person to train, val or test by a seeded hash, so that nobody moves when others come or go.

    The fractions are expectations, but small sets meet them, see ``partition``. With three people or more, a split with
    a fraction above zero gets at least one; with fewer, all are in train.
    """
    everyone = set(people)
    if len(everyone) < len(SPLITS):
        return dict.fromkeys(everyone, "train")
    return partition(everyone, settings.shares, seed, "split")


def split_drivers(
    sources: Iterable[Row], drivers: Iterable[Row], settings: PlanSettings, seed: int
) -> dict[str, str] | None:
    """Deal the people who drive to the splits, with the shares of the sources; None if the splits share all drivers.

    Args:
        sources, drivers: rows with ``person_id``. A person who is a source as well keeps the split of the sources.
        settings: drivers (shared or disjoint) and the fractions.
        seed: the run's seed.

    Returns: person_id → split.
    """
    if settings.drivers == "shared":
        return None
    shown = split_people([row["person_id"] for row in sources], settings, seed)
    driving = {row["person_id"] for row in drivers}
    others = split_people(driving - shown.keys(), settings, seed)
    return {person: shown.get(person) or others[person] for person in sorted(driving)}


def assign(
    sources: Sequence[Row], settings: PlanSettings, seed: int, everybody: Sequence[Row] | None = None
) -> list[Assignment]:
    """Assign actions to sources, balanced within every split, see ``matching.balance``.

    Args:
        sources: rows with ``video_id`` and ``person_id``; their order does not matter.
        settings: actions and actions per source.
        seed: the run's seed.
        everybody: all sources of the run, whose people are split; None: the same.

    Returns: ``actions_per_source`` assignments per source, sorted by split, action and ``plan_order``.
    """
    splits = split_people([row["person_id"] for row in everybody or sources], settings, seed)
    person = {row["video_id"]: row["person_id"] for row in sources}
    preferences = action_preferences(sources, settings.actions, settings.actions_per_source, seed)
    slack = slack_of(len(sources))
    assignments: list[Assignment] = []
    for split in SPLITS:
        members = {source: actions for source, actions in preferences.items() if splits[person[source]] == split}
        for source, actions in balance(members, settings.actions_per_source, seed, split, slack).items():
            assignments += [
                Assignment(source, person[source], action, split, plan_order_of(source, action, seed))
                for action in actions
            ]
    return sorted(assignments, key=lambda a: (a.split, a.action, a.plan_order))


def slack_of(count: int) -> float:
    """Return by how much the parts of a set of sources may differ from the mean."""
    return SLACK * min(count / _BALANCED_BELOW, 1) ** 2


def choose_driver(
    assignment: Assignment, drivers: Sequence[Row], seed: int, driver_splits: Mapping[str, str] | None = None
) -> Row:
    """Choose a usable driver of the action, preferably of another person than the source's.

    Args:
        assignment: source and action.
        drivers: rows with ``video_id``, ``person_id``, ``action`` and ``status``.
        seed: the run's seed.
        driver_splits: see :func:`split_drivers`; drivers of the source's split alone are chosen. None: of all splits.

    Raises: Rejected("no_driver") when no driver of the action is usable, or all were used in earlier rounds.
    """
    usable = [
        row
        for row in drivers
        if row["action"] == assignment.action
        and row["status"] == OK
        and (driver_splits is None or driver_splits[row["person_id"]] == assignment.split)
    ]
    if not usable:
        where = "" if driver_splits is None else f" in split {assignment.split}"
        raise Rejected(NO_DRIVER, f"no usable driver for action {assignment.action!r}{where}")
    others = [row for row in usable if row["person_id"] != assignment.person_id] or usable
    if assignment.turn >= len(others):
        raise Rejected(NO_DRIVER, f"all {len(others)} usable drivers for action {assignment.action!r} were used before")
    return sorted(others, key=lambda row: seed_from(seed, assignment.source_id, row["video_id"]))[assignment.turn]


def plan_shard(
    assignments: Sequence[Assignment],
    crops: Sequence[Path],
    motions: Sequence[Path],
    table: Path,
    seed: int,
    code: str,
    driver_splits: Mapping[str, str] | None = None,
) -> Tally:
    """Write the candidates of a shard: one row per assignment, rejected if source or driver is not usable.

    Args:
        assignments: assignments of the shard's sources.
        crops: CROPPED tables with the shard's sources.
        motions: MOTIONS tables of all drivers; CROPPED ones for an animator outside of this project.
        table: PLANNED table to write.
        seed: the run's seed.
        code: digest of this module.
        driver_splits: split of every driving person, see :func:`split_drivers`; None: shared by all splits.
    """
    sources = {row["video_id"]: row for row in read_rows(crops)}
    drivers = read_rows(motions)

    def work(row: Row) -> Row:
        assignment: Assignment = row["assignment"]
        source = sources.get(assignment.source_id)
        if source is None:
            raise Rejected(SOURCE_UNUSABLE, "rejected or failed at ingest")
        if source["status"] != OK:
            raise Rejected(SOURCE_UNUSABLE, f"crop: {source['reason']}: {source['detail']}")
        driver = choose_driver(assignment, drivers, seed, driver_splits)
        return {
            "video_id": pair_id(assignment.source_id, driver["video_id"]),
            "driver_id": driver["video_id"],
            "driver_person_id": driver["person_id"],
            "source_path": source["path"],
            "source_clip_sha256": source.get("sha256"),
            "source_pixels_sha256": source["pixels_sha256"],
            **{name: source.get(name) for name in BEST_FRAME.names},
            "motion_path": driver["path"],
            "motion_sha256": driver.get("sha256"),
            "motion_frames": driver["frames"],
            "motion_checkpoint_sha256": driver.get("checkpoint_sha256", ""),
        }

    rows = [
        {
            # The action stands in until a driver is chosen, so that a rejected candidate has an id too.
            "video_id": pair_id(a.source_id, a.action),
            "source_id": a.source_id,
            "person_id": a.person_id,
            "action": a.action,
            "split": a.split,
            "round": a.round,
            "plan_order": a.plan_order,
            "animator": a.animator,
            "assignment": a,
        }
        for a in assignments
    ]
    inputs = f"{seed}" if driver_splits is None else f"{seed} {sorted(driver_splits.items())}"
    return run_shard(rows, table, PLANNED, work, code=code, inputs=inputs, keep_journal=False)
