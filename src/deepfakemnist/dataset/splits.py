"""Alternative splits as further columns: driver-disjoint, the paper's 700/150/150 by video, and cross-validation folds.

All follow from ids and the seed. None of them separates a real from its fakes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from deepfakemnist.config.stages import PlanSettings
from deepfakemnist.ids import seed_from
from deepfakemnist.planning.assignment import split_people
from deepfakemnist.tables.schemas import Row

#: Train and val of the authors' 700/150/150 videos per action; the rest is test (their issue 2, which says 750/150/150
#: of 1000 and cannot mean it).
_PAPER_TRAIN, _PAPER_VAL = 0.70, 0.15


def add_splits(videos: Sequence[Row], plan: PlanSettings, seed: int, folds: int) -> None:
    """Set ``split_driver``, ``split_paper`` and ``fold`` in rows of ``tables.VIDEOS`` that have their ``split``."""
    driver_split = _driver_splits(videos, plan, seed)
    paper = _paper_split(videos, seed)
    fold = fold_of_people((row["person_id"] for row in videos), folds, seed)
    for row in videos:
        crosses = row["label"] == 1 and driver_split[row["driver_person_id"]] != row["split"]
        row["split_driver"] = "" if crosses else row["split"]
        row["split_paper"] = paper.get(row["source_id"], "")
        row["fold"] = fold[row["person_id"]]


def fold_of_people(people: Iterable[str], folds: int, seed: int) -> dict[str, int]:
    """Assign people to ``folds`` folds, numbered from 0, whose sizes differ by at most one person."""
    ranked = sorted(set(people), key=lambda person: seed_from(seed, "fold", person))
    return {person: rank % folds for rank, person in enumerate(ranked)}


def _driver_splits(videos: Sequence[Row], plan: PlanSettings, seed: int) -> dict[str, str]:
    """Split the drivers' people with the same shares as the sources; people who are also sources keep their split."""
    drivers = {row["driver_person_id"] for row in videos if row["label"] == 1}
    sources = {row["person_id"]: row["split"] for row in videos}
    assigned = split_people(sorted(drivers - sources.keys()), plan, seed)
    return {person: sources.get(person) or assigned[person] for person in drivers}


def _paper_split(videos: Sequence[Row], seed: int) -> dict[str, str]:
    """Return the split of every animated source by the authors' rule: by video within each action, not by person."""
    sources: dict[str, list[str]] = defaultdict(list)
    for source, action in sorted({(row["source_id"], row["action"]) for row in videos if row["label"] == 1}):
        sources[action].append(source)
    split: dict[str, str] = {}
    for action in sorted(sources):
        # A source with fakes of several actions keeps the split of its first action, so that its pairs stay together.
        members = sorted(sources[action], key=lambda source: seed_from(seed, "paper", source))
        train = round(_PAPER_TRAIN * len(members))
        val = round((_PAPER_TRAIN + _PAPER_VAL) * len(members))
        for rank, source in enumerate(members):
            split.setdefault(source, "train" if rank < train else "val" if rank < val else "test")
    return split
