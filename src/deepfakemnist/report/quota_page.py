"""The report's page on quotas: per action what was wanted and what came of it, and how every round went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deepfakemnist.planning.rounds import QUOTA_COLUMNS, CandidateOutcome
from deepfakemnist.report.pages import Table, write_page

_INTRO = (
    "Wanted: plan.quota. Kept: accepted animations in the dataset. Tried: animations that liveness could judge; the "
    "rest of what was planned ended before, because its source or driver is not usable or an animation failed. A round "
    "draws what is still wanted, divided by the share accepted so far; what passes beyond the quota is left out. "
    "Ended: full, pool empty (nothing is left to try) or max_rounds."
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
                judged, accepted = sum(one.animated for one in mine), sum(one.accepted for one in mine)
                share = f"{100 * accepted / judged:.1f}" if judged else "–"
                per_round.append([number, row["action"], len(mine), judged, accepted, share])
    titles = [name.replace("pass_rate", "pass %") for name in QUOTA_COLUMNS]
    rounds = Table("Rounds", ("round", "action", "planned", "tried", "accepted", "pass %"), per_round)
    write_page(path, "Quota", _INTRO, [Table("Actions", titles, per_action), rounds])
