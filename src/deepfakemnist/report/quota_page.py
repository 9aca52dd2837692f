"""Report page on quotas: accepted fakes per action against the quota, and the pass rate of every round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt

from deepfakemnist.config.base import ACTIONS
from deepfakemnist.planning.rounds import FULL, QUOTA_COLUMNS, CandidateOutcome
from deepfakemnist.report.charts import COLOURS, ROWS
from deepfakemnist.report.pages import render, write_page
from deepfakemnist.report.parts import Block, Chart, Lead, Part, Table
from deepfakemnist.report.units import counted

#: Columns of the quota table under other names on the page.
_TITLES = {"tried": "animated", "pass_rate": "passed, %"}
_LEAD = Lead(
    "How many accepted fakes each action has, against its quota (plan.quota), and how many rounds of sampling it took.",
    "Kept: accepted fakes in the dataset; those beyond the quota are left out. Animated: candidates that reached the "
    "liveness checks; the other planned ones dropped out, as source or driver is unusable or the animation failed. "
    "A round samples the number still wanted divided by the pass rate so far. Ended: full, pool empty (no candidates "
    "left) or max_rounds.",
    "A full quota says that there are enough fakes, not that they are good ones: harder actions pass by selection.",
)


def write_quota_page(
    account: Sequence[Mapping[str, Any]],
    outcomes: Sequence[CandidateOutcome],
    path: Path,
    notices: Sequence[str] = (),
) -> None:
    """Write the page.

    Args:
        account: rows of ``rounds.quota_summary``.
        outcomes: every candidate.
        path: page to write.
        notices: see :func:`deepfakemnist.report.pages.write_page`.
    """
    is_named = len({row["animator"] for row in account}) > 1
    names = [name for name in QUOTA_COLUMNS if is_named or name != "animator"]
    per_action = [[_rate(row[name]) if name == "pass_rate" else row[name] for name in names] for row in account]
    per_round = []
    for number in sorted({one.round for one in outcomes}):
        for row in account:
            mine = [one for one in _of(row, outcomes) if one.round == number]
            if mine:
                animated, accepted = sum(one.animated for one in mine), sum(one.accepted for one in mine)
                label = [row["animator"]] if is_named else []
                rate = _rate(accepted / animated if animated else None)
                per_round.append([number, *label, row["action"], len(mine), animated, accepted, rate])
    columns = ("round", *(["animator"] if is_named else []), "action", "planned", "animated", "accepted", "passed, %")
    parts: list[Part | None] = [
        Block("Verdict", render("sentences.html.j2", sentences=_verdict(account, is_named))),
        _chart(account, outcomes, is_named),
        Table("Actions", [_TITLES.get(name, name) for name in names], per_action),
        Table("Rounds", columns, per_round),
    ]
    write_page(path, "Quota", _LEAD, [part for part in parts if part is not None], notices)


def _of(row: Mapping[str, Any], outcomes: Sequence[CandidateOutcome]) -> list[CandidateOutcome]:
    """Return the candidates of a row's action, and of its animator where it names one."""
    return [one for one in outcomes if one.action == row["action"] and row["animator"] in ("", one.animator)]


def _rate(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f}"


def _verdict(account: Sequence[Mapping[str, Any]], is_named: bool) -> list[str]:
    short = [row for row in account if row["ended"] != FULL]
    if not short:
        return [f"Every quota is met: {counted(sum(row['kept'] for row in account), 'fake')} kept."]
    named = [
        (f"{row['action']} by {row['animator']}" if is_named else row["action"])
        + f" ({row['kept']} of {row['wanted']}, {row['ended']})"
        for row in short
    ]
    return [f"{len(short)} of {counted(len(account), 'quota')} not met: {', '.join(named)}."]


def _chart(account: Sequence[Mapping[str, Any]], outcomes: Sequence[CandidateOutcome], is_named: bool) -> Chart | None:
    """Return the accepted fakes by action and round, with the quotas; None without an accepted fake."""
    rows = []
    for row in account:
        mine = [one for one in _of(row, outcomes) if one.accepted]
        for number in sorted({one.round for one in outcomes}):
            accepted = sum(one.round == number for one in mine)
            rows.append({"action": row["action"], "animator": row["animator"], "round": number, "accepted": accepted,
                         "quota": row["wanted"]})  # fmt: skip
    if not any(row["accepted"] for row in rows):
        return None
    actions = [action for action in ACTIONS if any(row["action"] == action for row in rows)]
    labels = sorted({row["animator"] for row in rows})
    base = alt.Chart(ROWS).encode(y=alt.Y("action:N", sort=actions, title=None))
    if is_named:
        base = base.encode(yOffset=alt.YOffset("animator:N", sort=labels))
    tips = ["action:N", "animator:N", "round:O", "accepted:Q", "quota:Q"]
    bars = base.mark_bar().encode(
        x=alt.X("accepted:Q", title="accepted fakes", axis=alt.Axis(tickMinStep=1)),
        color=alt.Color("round:O", scale=alt.Scale(scheme="viridis"), legend=alt.Legend(orient="bottom")),
        order=alt.Order("round:Q"),
        tooltip=tips,
    )
    marks = base.mark_tick(color=COLOURS[5], thickness=3).encode(x="quota:Q", tooltip=tips)
    total = sum(row["accepted"] for row in rows)
    by = f" Within an action, from above: {', '.join(labels)}." if is_named else ""
    return Chart(
        "Accepted fakes by round",
        (bars + marks).properties(height=len(actions) * (16 * len(labels) + 4)),
        rows,
        f"Accepted fakes by action and round, {total} in all, with the quotas.",
        f"{counted(total, 'accepted fake')}, those beyond the quota too. Orange marks: the quota.{by}",
        file="rounds",
    )
