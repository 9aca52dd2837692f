"""Report page on quotas: accepted fakes per action against the quota, and the pass rate of every round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deepfakemnist.planning.rounds import QUOTA_COLUMNS, CandidateOutcome
from deepfakemnist.report.pages import write_page
from deepfakemnist.report.parts import Table

#: Columns of the quota table under other names on the page.
_TITLES = {"tried": "animated", "pass_rate": "pass %"}
_INTRO = (
    "Wanted: plan.quota. Kept: accepted animations in the dataset. Animated: candidates whose animation reached the "
    "liveness checks; the other planned candidates dropped out, because their source or driver is unusable or their "
    "animation failed. A round samples the number still wanted divided by the pass rate so far; accepted animations "
    "beyond the quota are left out. Ended: full, pool empty (no candidates left) or max_rounds."
)


def write_quota_page(account: Sequence[Mapping[str, Any]], outcomes: Sequence[CandidateOutcome], path: Path) -> None:
    """Write the page.

    Args:
        account: rows of ``rounds.quota_summary``.
        outcomes: every candidate.
        path: page to write.
    """
    per_action = [
        [("–" if row[name] is None else f"{100 * row[name]:.1f}") if name == "pass_rate" else row[name]
         for name in QUOTA_COLUMNS]
        for row in account
    ]  # fmt: skip
    per_round = []
    for number in sorted({one.round for one in outcomes}):
        for row in account:
            mine = [one for one in outcomes if (one.round, one.action) == (number, row["action"])]
            if mine:
                animated, accepted = sum(one.animated for one in mine), sum(one.accepted for one in mine)
                rate = f"{100 * accepted / animated:.1f}" if animated else "–"
                per_round.append([number, row["action"], len(mine), animated, accepted, rate])
    titles = [_TITLES.get(name, name) for name in QUOTA_COLUMNS]
    rounds = Table("Rounds", ("round", "action", "planned", "animated", "accepted", "pass %"), per_round)
    write_page(path, "Quota", _INTRO, [Table("Actions", titles, per_action), rounds])
