"""Which source is animated with which action by which driver, and which split it is in.

The assignment is a function of ids, people and the seed alone. It is known before any video is read, so a dry run
tells the truth, and a source whose video changes re-plans nobody else; one that is added or removed may, because
actions are dealt in turn. What a plan row needs from the videos (is the source usable, which drivers are) is filled in
per shard. With rounds (``rounds.py``) that holds for the first one; later ones follow from verdicts too.
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

#: Why a candidate ends in the plan.
NO_DRIVER, SOURCE_UNUSABLE = "no_driver", "source_unusable"


@dataclass(frozen=True)
class Assignment:
    """One source and one action, before a driver is chosen."""

    source_id: str
    person_id: str
    action: str
    split: str
    plan_order: int
    #: Planning round, from 1.
    round: int = 1
    #: How often the source was tried with this action before; each time with another driver.
    turn: int = 0


def split_people(people: Sequence[str], settings: PlanSettings, seed: int) -> dict[str, str]:
    """Assign each person to train, val or test.

    People are ranked by a seeded hash; the first share is test, the next val. A split with a fraction above zero gets
    at least one person as soon as there are three.
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
    """Deal the actions to the sources of each split in turn, so that every action gets its equal share of each split.

    Args:
        sources: rows with ``video_id`` and ``person_id``; their order does not matter.
        settings: actions and how many each source gets.
        seed: the run's seed.

    Returns: ``actions_per_source`` assignments a source, sorted by split, action and ``plan_order``.
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
    """Choose among the usable drivers of the action, another person than the source's where there is one.

    Raises: Rejected("no_driver") when no driver of the action is usable, or each of them was tried.
    """
    fitting = [row for row in drivers if row["action"] == assignment.action and row["status"] == OK]
    if not fitting:
        raise Rejected(NO_DRIVER, f"no driver for action {assignment.action!r} is usable")
    others = [row for row in fitting if row["person_id"] != assignment.person_id] or fitting
    if assignment.turn >= len(others):
        raise Rejected(NO_DRIVER, f"tried with every usable driver for action {assignment.action!r}: {len(others)}")
    return sorted(others, key=lambda row: seed_from(seed, assignment.source_id, row["video_id"]))[assignment.turn]


def plan_shard(
    assignments: Sequence[Assignment], crops: Path, motions: Sequence[Path], table: Path, seed: int, code: str
) -> Tally:
    """Write the candidates of a shard: one row per assignment, rejected where source or driver is not usable.

    Args:
        assignments: those of the shard's sources.
        crops: the shard's cropped sources.
        motions: motion tables of every driver.
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
            raise Rejected(SOURCE_UNUSABLE, "it did not come through ingest")
        if source["status"] != OK:
            raise Rejected(SOURCE_UNUSABLE, f"crop: {source['reason']}: {source['detail']}")
        driver = choose_driver(assignment, drivers, seed)
        return {
            "video_id": pair_id(assignment.source_id, driver["video_id"]),
            "driver_id": driver["video_id"],
            "driver_person_id": driver["person_id"],
            "source_path": source["path"],
            "source_pixels_sha256": source["pixels_sha256"],
            "motion_path": driver["path"],
            "motion_frames": driver["frames"],
        }

    rows = [
        {
            # Until a driver is chosen the action stands in for it, so that a rejected candidate has a name too.
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
    return run_shard(rows, table, PLANNED, work, code=code, inputs=f"{seed}")
