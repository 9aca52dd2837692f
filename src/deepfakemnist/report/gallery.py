"""Choice of the fakes in the gallery: the best and the worst of every action and animator, and a rejected one."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: A fake whose transfer is this or less moves not at all, or against its driver: ratios end here.
_NO_TRANSFER = 0.01
#: What a fake is shown for; of each animator and action those of the first line come before those of the next.
_RANKS = (
    ("transfer closest to 1", "rejected", "the only accepted one", "not measured"),
    ("transfer farthest from 1",),
    ("identity kept best", "identity kept worst"),
)
RANK = {reason: rank for rank, reasons in enumerate(_RANKS) for reason in reasons}


@dataclass(frozen=True)
class Fake:
    """A fake and what the run's tables say of it.

    Args:
        split: "": not known.
        frames: frames of the clip.
        source_frame: frame of the source that was animated; None: not known.
        refusal: reason of rejection and what was measured; "": accepted.
        verdicts: provider → live, score and threshold.
        unanswered: provider → why it gave no verdict.
        transfer, identity_kept, sharpness_ratio: of ANIMATION_QUALITY; None: not measured.
    """

    video_id: str
    action: str
    animator: str
    split: str
    source_id: str
    driver_id: str
    path: str
    frames: int
    source_frame: int | None = None
    refusal: str = ""
    verdicts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    unanswered: Mapping[str, str] = field(default_factory=dict)
    transfer: float | None = None
    identity_kept: float | None = None
    sharpness_ratio: float | None = None


@dataclass(frozen=True)
class Choice:
    """A fake and what it is shown for, one or several of the reasons in RANK."""

    fake: Fake
    reasons: tuple[str, ...]


def choose(accepted: Iterable[Fake], rejected: Iterable[Fake]) -> list[Choice]:
    """Return the fakes to show, the most important first; none twice.

    Of every animator and action: the accepted fakes with transfer closest to and farthest from 1 (as a ratio: 0.5 and
    2 are equally far), those that keep identity best and worst, and the rejected ones given. Where a page ends early,
    every action and every animator has had its turn: first the best and the rejected of all, one animator per action
    at a time, each action beginning with another one.

    Args:
        accepted: fakes of the dataset.
        rejected: at most one of every animator and action.
    """
    cells: dict[tuple[str, str], list[Choice]] = {}
    of_cell: dict[tuple[str, str], list[Fake]] = defaultdict(list)
    for fake in accepted:
        of_cell[fake.animator, fake.action].append(fake)
    for cell, fakes in of_cell.items():
        cells[cell] = _extremes(fakes)
    for fake in rejected:
        cells.setdefault((fake.animator, fake.action), []).append(Choice(fake, ("rejected",)))
    turn = _turns(cells)
    found = [(choice, cell) for cell, choices in cells.items() for choice in choices]
    found.sort(key=lambda item: (RANK[item[0].reasons[0]], turn[item[1]], item[1], item[0].fake.video_id))
    return [choice for choice, _ in found]


def _extremes(fakes: Sequence[Fake]) -> list[Choice]:
    """Return the best and the worst accepted fakes of one animator and action."""
    reasons: dict[str, list[str]] = defaultdict(list)
    for key, best, worst in (
        (_distance_to_full_transfer, "transfer closest to 1", "transfer farthest from 1"),
        (_lost_identity, "identity kept best", "identity kept worst"),
    ):
        ranked = _ranked(fakes, key)
        if len(ranked) > 1:
            reasons[ranked[0].video_id].append(best)
            reasons[ranked[-1].video_id].append(worst)
    if not reasons:
        first = min(fakes, key=lambda fake: fake.video_id)
        reasons[first.video_id].append("the only accepted one" if len(fakes) == 1 else "not measured")
    by_id = {fake.video_id: fake for fake in fakes}
    return [Choice(by_id[name], tuple(sorted(texts, key=lambda text: RANK[text]))) for name, texts in reasons.items()]


def _ranked(fakes: Sequence[Fake], key: Callable[[Fake], float | None]) -> list[Fake]:
    """Return the fakes that have a value, in its order, equal ones by id."""
    measured = [(value, fake.video_id, fake) for fake in fakes if (value := key(fake)) is not None]
    return [fake for _, _, fake in sorted(measured, key=lambda item: item[:2])]


def _distance_to_full_transfer(fake: Fake) -> float | None:
    if fake.transfer is None or not math.isfinite(fake.transfer):
        return None
    return abs(math.log(max(fake.transfer, _NO_TRANSFER)))


def _lost_identity(fake: Fake) -> float | None:
    return -fake.identity_kept if fake.identity_kept is not None and math.isfinite(fake.identity_kept) else None


def _turns(cells: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """Return when an animator and action have their turn: in turn 0 each action has one animator, each another."""
    animators = sorted({animator for animator, _ in cells})
    actions = sorted({action for _, action in cells})
    return {
        (animator, action): (animators.index(animator) - actions.index(action)) % len(animators)
        for animator, action in cells
    }
