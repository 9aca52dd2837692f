"""Deterministic assignment of actions, drivers and splits to sources.

The assignment depends on ids, people and the seed alone. It is known before any video is read, so a dry run is exact,
and a changed source video affects no other source; adding or removing a source may, because actions are dealt in turn.
Whether a source and its drivers are usable is resolved per shard. With rounds (``rounds.py``) this holds for the first
round; later rounds depend on liveness verdicts too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deepfakemnist.config.base import SPLITS
from deepfakemnist.config.stages import PlanSettings
from deepfakemnist.errors import Rejected
from deepfakemnist.ids import pair_id, seed_from
from deepfakemnist.tables.files import read_rows
from deepfakemnist.tables.schemas import OK, PLANNED, Row
from deepfakemnist.tables.shards import Tally, run_shard

#: Reasons for rejecting a candidate in the plan.
NO_DRIVER, SOURCE_UNUSABLE = "no_driver", "source_unusable"


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


def split_people(people: Sequence[str], settings: PlanSettings, seed: int) -> dict[str, str]:
    """Assign each person to train, val or test.

    People are ranked by a seeded hash: the first fraction is test, the next val, the rest train. With three people or
    more, a split with a fraction above zero gets at least one.
    """
    ranked = sorted(set(people), key=lambda person: seed_from(seed, "split", person))
    counts = {}
    for name, fraction in (("test", settings.test_fraction), ("val", settings.val_fraction)):
        counts[name] = max(round(fraction * len(ranked)), 1 if fraction > 0 and len(ranked) >= len(SPLITS) else 0)
    bounds = (counts["test"], counts["test"] + counts["val"])
    return {
        person: "test" if rank < bounds[0] else "val" if rank < bounds[1] else "train"
        for rank, person in enumerate(ranked)
    }


def assign(sources: Sequence[Row], settings: PlanSettings, seed: int) -> list[Assignment]:
    """Assign actions to the sources of each split round-robin, so that actions are balanced within every split.

    Args:
        sources: rows with ``video_id`` and ``person_id``; their order does not matter.
        settings: actions and actions per source.
        seed: the run's seed.

    Returns: ``actions_per_source`` assignments per source, sorted by split, action and ``plan_order``.
    """
    splits = split_people([row["person_id"] for row in sources], settings, seed)
    assignments: list[Assignment] = []
    for split in SPLITS:
        members = sorted(
            (row for row in sources if splits[row["person_id"]] == split),
            key=lambda row: seed_from(seed, "source", row["video_id"]),
        )
        actions = sorted(settings.actions, key=lambda action: seed_from(seed, split, action))
        dealt: dict[str, int] = defaultdict(int)
        for turn, row in enumerate(members):
            for extra in range(settings.actions_per_source):
                action = actions[(turn * settings.actions_per_source + extra) % len(actions)]
                assignments.append(Assignment(row["video_id"], row["person_id"], action, split, dealt[action]))
                dealt[action] += 1
    return sorted(assignments, key=lambda a: (a.split, a.action, a.plan_order))


def choose_driver(assignment: Assignment, drivers: Sequence[Row], seed: int) -> Row:
    """Choose a usable driver of the action, preferably of another person than the source's.

    Raises: Rejected("no_driver") when no driver of the action is usable, or all were used in earlier rounds.
    """
    usable = [row for row in drivers if row["action"] == assignment.action and row["status"] == OK]
    if not usable:
        raise Rejected(NO_DRIVER, f"no usable driver for action {assignment.action!r}")
    others = [row for row in usable if row["person_id"] != assignment.person_id] or usable
    if assignment.turn >= len(others):
        raise Rejected(NO_DRIVER, f"all {len(others)} usable drivers for action {assignment.action!r} were used before")
    return sorted(others, key=lambda row: seed_from(seed, assignment.source_id, row["video_id"]))[assignment.turn]


def plan_shard(
    assignments: Sequence[Assignment], crops: Path, motions: Sequence[Path], table: Path, seed: int, code: str
) -> Tally:
    """Write the candidates of a shard: one row per assignment, rejected if source or driver is not usable.

    Args:
        assignments: assignments of the shard's sources.
        crops: CROPPED table of the shard's sources.
        motions: MOTIONS tables of all drivers.
        table: PLANNED table to write.
        seed: the run's seed.
        code: digest of this module.
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
        driver = choose_driver(assignment, drivers, seed)
        return {
            "video_id": pair_id(assignment.source_id, driver["video_id"]),
            "driver_id": driver["video_id"],
            "driver_person_id": driver["person_id"],
            "source_path": source["path"],
            "source_clip_sha256": source.get("sha256"),
            "source_pixels_sha256": source["pixels_sha256"],
            "motion_path": driver["path"],
            "motion_sha256": driver.get("sha256"),
            "motion_frames": driver["frames"],
            "motion_checkpoint_sha256": driver["checkpoint_sha256"],
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
            "assignment": a,
        }
        for a in assignments
    ]
    return run_shard(rows, table, PLANNED, work, code=code, inputs=f"{seed}", keep_journal=False)
