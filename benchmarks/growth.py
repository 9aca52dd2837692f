"""Growth of a dataset: what changes in the plan when one person is added or removed.

    python benchmarks/growth.py    prints the table and writes benchmarks/growth.json; about two minutes

Random sets of 100 to 10,000 sources, with one video per person, or 1 to 12 as in VoxCeleb. Removing a person is
compared with the full set, which is adding one read backwards. Reported are other people's videos with another action
and with another split; shards without a video of the person that change, because a range is halved or no longer is; the
number of sources per action relative to the mean; and the CPU time of planning.
"""

from __future__ import annotations

import json
import random
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any

from deepfakemnist.config.stages import PlanSettings
from deepfakemnist.planning.assignment import Assignment, assign
from deepfakemnist.workflow.sharding import split_into_shards

#: Sources in a set → number of sets, and people removed from each.
SETS = {100: (40, 8), 300: (12, 8), 1000: (5, 8), 10_000: (1, 8)}
VIDEOS = {"one video per person": (1,), "1 to 12 videos per person": (1, 2, 3, 5, 8, 12)}
SETTINGS = PlanSettings()
SHARD_SIZES = ("auto", 10)


def main() -> None:
    results = {f"{size} sources, {kind}": measure(size, videos) for size in SETS for kind, videos in VIDEOS.items()}
    for name, row in results.items():
        print(name, json.dumps(row))
    what = "videos of others that change when a person is removed, and balance of actions, over random sets"
    Path(__file__).with_suffix(".json").write_text(json.dumps({"what": what, "sets": results}, indent=2) + "\n")


def measure(size: int, videos: tuple[int, ...]) -> dict[str, Any]:
    """Return the figures of one kind of set."""
    actions: list[int] = []
    splits = 0
    changed = dict.fromkeys(SHARD_SIZES, 0)
    seconds: list[float] = []
    balance: dict[str, list[float]] = {"all": [], "test": []}
    count, removed = SETS[size]
    for seed in range(count):
        rows, rng = random_sources(size, videos, seed)
        started = time.process_time()
        assignments = assign(rows, SETTINGS, seed)
        seconds.append(time.process_time() - started)
        balance["all"] += relative_counts(assignments)
        balance["test"] += relative_counts([one for one in assignments if one.split == "test"])
        before = {one.source_id: one for one in assignments}
        shards = {shard_size: split(rows, shard_size) for shard_size in SHARD_SIZES}
        for person in rng.sample(sorted({row["person_id"] for row in rows}), removed):
            rest = [row for row in rows if row["person_id"] != person]
            after = assign(rest, SETTINGS, seed)
            actions.append(sum(one.action != before[one.source_id].action for one in after))
            splits += sum(one.split != before[one.source_id].split for one in after)
            for shard_size, whole in shards.items():
                own = {name for name, members in whole.items() if any(row["person_id"] == person for row in members)}
                left = split(rest, shard_size)
                changed[shard_size] += sum(
                    left.get(name) != members for name, members in whole.items() if name not in own
                )
    return {
        "other_actions_mean": round(statistics.mean(actions), 2),
        "other_actions_95th_percentile": sorted(actions)[int(0.95 * len(actions))],
        "other_actions_max": max(actions),
        "other_splits": splits,
        "other_shards": {f"shard_size {shard_size}": number for shard_size, number in changed.items()},
        "removals": len(actions),
        "sources_per_action_relative_to_mean": [round(min(balance["all"]), 2), round(max(balance["all"]), 2)],
        "in_test": [round(min(balance["test"]), 2), round(max(balance["test"]), 2)],
        "planning_cpu_seconds": round(statistics.median(seconds), 3),
    }


def split(rows: list[dict[str, Any]], shard_size: int | str) -> dict[str, list[dict[str, Any]]]:
    """Return the shards of sources."""
    return split_into_shards([(row["video_id"], row) for row in rows], shard_size)


def random_sources(size: int, videos: tuple[int, ...], seed: int) -> tuple[list[dict[str, str]], random.Random]:
    """Return sources of people with random names, and the generator for further choices."""
    rng = random.Random(f"{size} {len(videos)} {seed}")
    rows: list[dict[str, str]] = []
    while len(rows) < size:
        person = f"id{rng.randrange(10**9)}"
        number = min(rng.choice(videos), size - len(rows))
        rows += [{"video_id": f"{person}#{n}", "person_id": person} for n in range(number)]
    return rows, rng


def relative_counts(assignments: list[Assignment]) -> list[float]:
    """Return the number of sources of every action, relative to the mean."""
    counts = Counter(one.action for one in assignments)
    return [counts[action] * len(SETTINGS.actions) / len(assignments) for action in SETTINGS.actions if assignments]


if __name__ == "__main__":
    main()
