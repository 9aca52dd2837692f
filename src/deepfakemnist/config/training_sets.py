"""Training-set names: quality, filter by action, animator or driver, share of the people, and split.

``QUALITY[-only-WHAT|-without-WHAT|-by-driver][-people-PERCENT][-split-paper|-fold-K]``, where WHAT is an action or an
animator, for example ``c23``, ``raw-only-nod``, ``c23-without-mesh``, ``c23-people-25`` and ``c23-fold-0``. The name is
the whole definition: it is the folder of the detector, and stands in its checkpoint and predictions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from deepfakemnist.config.base import ACTIONS, MIXED

#: Values of ``split`` besides ``fold-K``: the dataset's own; the paper's, by video; test videos of all folds together,
#: in results alone.
PERSON, PAPER, FOLDS = "person", "paper", "folds"

_LEAST_FOLDS = 3
_EACH_ACTION, EACH_ANIMATOR = "each", "each-animator"
#: Labels of animators contain none of these marks (config.animators.base).
_FILTERED = re.compile(r"(?P<quality>.+)-(?P<kind>only|without)-(?P<what>[A-Za-z0-9][A-Za-z0-9_-]*)")
_BY_DRIVER = "-by-driver"
_PEOPLE = re.compile(r"(?P<rest>.+)-people-(?P<percent>[1-9][0-9]?)")
_SPLIT = re.compile(r"(?P<rest>.+)-(split-(?P<name>paper)|(?P<fold>fold-(0|[1-9]\d*|each))|(?P<folds>folds))")


class TrainingSet(NamedTuple):
    """Training clips of a detector.

    Args:
        quality: a quality of the config, or ``mixed`` for all of them.
        only: fakes of this action only; None for every action.
        without: fakes of every action but this; None for every action.
        by_driver: without fakes whose driver is in another split (column ``split_driver``), in train, val and test.
        only_animator, without_animator: the same of the animator, by its label.
        people: percent of the people in train, 1..100; the subsets are nested.
        split: person: the column ``split``; paper: ``split_paper``; fold-K: test is fold K of the column ``fold``, val
            the next one, train all others; folds: of results, every video as the test video that it is of one fold.
    """

    quality: str
    only: str | None = None
    without: str | None = None
    by_driver: bool = False
    people: int = 100
    split: str = PERSON
    only_animator: str | None = None
    without_animator: str | None = None

    @property
    def fold(self) -> int | None:
        """Number of the test fold; None for other splits."""
        number = self.split.removeprefix("fold-")
        return int(number) if number != self.split and number.isdigit() else None

    @property
    def restricted(self) -> bool:
        """Whether some fakes of its quality and split are left out."""
        return bool(self.only or self.without or self.by_driver or self.by_animator)

    @property
    def by_animator(self) -> bool:
        """Whether fakes of some animators are left out."""
        return bool(self.only_animator or self.without_animator)


def parse_training_set(trained_on: str) -> TrainingSet:
    """Parse a name such as ``c23``, ``mixed``, ``raw-only-nod``, ``raw-only-nod-split-paper`` or ``c23-people-25``."""
    rest, split, people = trained_on, PERSON, 100
    if match := _SPLIT.fullmatch(rest):
        rest, split = match["rest"], match["name"] or match["fold"] or match["folds"]
    if match := _PEOPLE.fullmatch(rest):
        rest, people = match["rest"], int(match["percent"])
    if rest.endswith(_BY_DRIVER):
        return TrainingSet(rest.removesuffix(_BY_DRIVER), by_driver=True, people=people, split=split)
    if match := _FILTERED.fullmatch(rest):
        quality, what = match["quality"], {match["kind"]: match["what"]}
        if match["what"] in (*ACTIONS, _EACH_ACTION):
            return TrainingSet(quality, what.get("only"), what.get("without"), people=people, split=split)
        return TrainingSet(
            quality, people=people, split=split,
            only_animator=what.get("only"), without_animator=what.get("without"),
        )  # fmt: skip
    return TrainingSet(rest, people=people, split=split)


def expand(trained_on: Iterable[str], actions: Iterable[str], animators: Iterable[str], folds: int) -> list[str]:
    """Return the names with ``each`` replaced by every action, ``each-animator`` by every animator, and every fold."""
    names: list[str] = []
    for name in trained_on:
        chosen = parse_training_set(name)
        by_what = [name]
        if "each" in (chosen.only, chosen.without):
            kind = "only" if chosen.only else "without"
            by_what = [name.replace(f"-{kind}-each", f"-{kind}-{action}", 1) for action in actions]
        elif EACH_ANIMATOR in (chosen.only_animator, chosen.without_animator):
            by_what = [name.replace(EACH_ANIMATOR, animator, 1) for animator in animators]
        for one in by_what:
            if chosen.split == "fold-each":
                names += [f"{one.removesuffix('each')}{fold}" for fold in range(folds)]
            else:
                names.append(one)
    return list(dict.fromkeys(names))


def with_pooled_folds(names: Iterable[str]) -> dict[str, list[str]]:
    """Return every training set of the results with those whose predictions it needs.

    That is each set itself, and ``…-folds`` with the folds of a cross-validation.
    """
    names = list(dict.fromkeys(names))
    folds: dict[str, list[str]] = {}
    for name in names:
        if (fold := parse_training_set(name).fold) is not None:
            folds.setdefault(f"{name.removesuffix(f'-fold-{fold}')}-{FOLDS}", []).append(name)
    return {name: [name] for name in names} | {name: parts for name, parts in folds.items() if len(parts) > 1}


def problem_of(
    trained_on: str, qualities: Iterable[str], actions: Iterable[str], animators: Iterable[str], folds: int
) -> str:
    """Return what is wrong with a name of the config; empty if it can be used.

    Args:
        trained_on: the name.
        qualities, actions, animators, folds: those of the config.
    """
    chosen, planned, made_by = parse_training_set(trained_on), [*actions], [*animators]
    known = [*qualities, MIXED]
    if chosen.quality not in known:
        return f"has no known quality; qualities are {known}"
    if not {chosen.only, chosen.without} <= {None, "each", *planned}:
        return f"names an action that is not planned; planned are {planned}"
    if not {chosen.only_animator, chosen.without_animator} <= {None, EACH_ANIMATOR, *made_by}:
        return f"names neither an action nor an animator of the run; actions are {planned}, animators are {made_by}"
    if chosen.without_animator and len(made_by) == 1:
        return "would have no fakes: the run has one animator"
    if chosen.split == FOLDS:
        return "is a name of results; train on each fold with -fold-each"
    if chosen.split.startswith("fold-") and folds < _LEAST_FOLDS:
        return f"needs dataset.folds of {_LEAST_FOLDS} or more: one for test, one for val, the others for train"
    if chosen.fold is not None and chosen.fold >= folds:
        return f"names a fold beyond those of dataset.folds, 0 to {folds - 1}"
    if chosen.by_driver and chosen.split != PERSON:
        return "combines by-driver, which is of the split by person, with another split"
    return ""
