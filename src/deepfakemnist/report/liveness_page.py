"""Report page on liveness: pass rates of fakes, scores, agreement of providers, reasons and cost."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from deepfakemnist.config.base import ACTIONS
from deepfakemnist.report.acceptance_tables import acceptance_table, animators_table, figures_table, is_live
from deepfakemnist.report.liveness_charts import ALL, ALL_PROVIDERS, live_percent, pass_rate_chart, score_charts
from deepfakemnist.report.pages import write_page
from deepfakemnist.report.parts import Lead, Part, Table
from deepfakemnist.report.units import number
from deepfakemnist.tables.files import read_rows
from deepfakemnist.tables.schemas import OK, Row

_LEAD = Lead(
    "How many fakes pass liveness detection, the paper's acceptance filter.",
    "A fake is accepted if every provider classifies it as live. All clips are attacks, so the share of live ones is "
    "the APCER of ISO/IEC 30107-3. A clip that a cheaper provider rejected is not sent to a more expensive one: rates "
    "of such providers are of the clips sent to them.",
    "Liveness does not see quality: a quiet, clean fake may fail and a torn one pass. Intervals are over clips; clips "
    "of one person are not independent, so the true ones are wider.",
)
#: Both live, only one, only the other, neither.
_PAIRS = ((True, True), (True, False), (False, True), (False, False))


def write_liveness_page(
    verdicts: Sequence[Path],
    selected: Sequence[Path],
    judged: Sequence[Path],
    path: Path,
    limits: Mapping[str, float] | None = None,
    notices: Sequence[str] = (),
) -> None:
    """Write an HTML page: pass rates per action and provider, scores, quality, agreement, reasons and cost.

    Args:
        verdicts: VERDICTS tables of all providers and shards.
        selected: SELECTED tables of all shards.
        judged: ANIMATION_QUALITY tables of all shards.
        path: page to write.
        limits: the quality gate, setting → limit; None or empty: none was set.
        notices: see :func:`deepfakemnist.report.pages.write_page`.
    """
    rows, selection = read_rows(verdicts), read_rows(selected)
    providers = sorted({row["provider"] for row in rows})
    rates = _pass_rates(rows, selection, providers)
    people = len({row["person_id"] for row in selection if row["person_id"]})
    parts: list[Part | None] = [
        pass_rate_chart(rates, people),
        _rate_table(rates),
        *score_charts(rows),
        animators_table(selection) if len({row.get("animator") for row in selection}) > 1 else None,
        acceptance_table(selection, rows, limits) if limits else None,
        figures_table(selection, read_rows(judged)),
        _agreement(rows, providers),
        _reasons(rows),
        _costs(rows, providers),
    ]
    write_page(path, "Liveness", _LEAD, [part for part in parts if part is not None], notices)


def agreement(one: Sequence[bool], other: Sequence[bool]) -> tuple[float, float | None]:
    """Return the share of equal verdicts and Cohen's kappa of two providers; None if kappa is undefined."""
    a, b = np.asarray(one, dtype=bool), np.asarray(other, dtype=bool)
    equal = float((a == b).mean())
    by_chance = float(a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean()))
    return equal, (equal - by_chance) / (1 - by_chance) if by_chance < 1 else None


def _pass_rates(rows: Sequence[Row], selection: Sequence[Row], providers: Sequence[str]) -> list[Row]:
    """Return counts of live fakes and of verdicts by provider and action, and of fakes that all accept."""
    lines: list[Row] = []
    for provider in providers:
        for action in (*ACTIONS, ALL):
            mine = [row for row in rows if row["provider"] == provider and action in (row["action"], ALL)]
            if mine:
                answered = [row for row in mine if row["status"] == OK]
                asked = " ".join(sorted({row["asked_motion"] for row in mine if action != ALL}))
                live = sum(row["live"] for row in answered)
                not_sent = sum(row["reason"] == "not_asked" for row in mine)
                lines.append(
                    {"provider": provider, "action": action, "motion": asked, "live": live,
                     "verdicts": len(answered), "not_sent": not_sent, "missing": len(mine) - len(answered) - not_sent}
                )  # fmt: skip
    for action in (*ACTIONS, ALL):
        checked = [row for row in selection if action in (row["action"], ALL)]
        if checked:
            accepted = sum(is_live(row) for row in checked)
            lines.append(
                {"provider": ALL_PROVIDERS, "action": action, "motion": "", "live": accepted, "verdicts": len(checked),
                 "not_sent": 0, "missing": 0}
            )  # fmt: skip
    return lines


def _rate_table(rates: Sequence[Row]) -> Table:
    names = ("provider", "action", "motion", "live", "verdicts")
    lines = [
        [*(row[name] for name in names), live_percent(row["live"], row["verdicts"]), row["not_sent"], row["missing"]]
        for row in rates
    ]
    columns = ("provider", "action", "motion asked", "live", "verdicts", "live, % [95 % CI]", "not sent", "no verdict")
    note = (
        "Motion asked: as the provider names it. Not sent: a cheaper provider had rejected the clip. No verdict: the "
        "provider failed."
    )
    return Table("Pass rates in numbers", columns, lines, note)


def _agreement(rows: Sequence[Row], providers: Sequence[str]) -> Table:
    answers: dict[str, dict[str, bool]] = defaultdict(dict)
    for row in rows:
        if row["status"] == OK:
            answers[row["provider"]][row["video_id"]] = row["live"]
    lines = []
    for one, other in combinations(providers, 2):
        both = sorted(answers[one].keys() & answers[other].keys())
        if both:
            a, b = ([answers[name][video] for video in both] for name in (one, other))
            equal, kappa = agreement(a, b)
            counts = [sum((x, y) == pair for x, y in zip(a, b, strict=True)) for pair in _PAIRS]
            lines.append([one, other, len(both), *counts, f"{100 * equal:.0f}", number(kappa)])
    columns = ("A", "B", "clips", "both live", "only A", "only B", "neither", "agreement, %", "Cohen's κ")
    note = (
        "Of clips that both classified. κ: 1 is full agreement, 0 what chance gives, – where one verdict never changes."
    )
    return Table("Agreement between providers", columns, lines, note)


def _reasons(rows: Sequence[Row]) -> Table:
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for row in rows:
        reason = row["reason"] if row["status"] != OK else json.loads(row["evidence"]).get("reason")
        if reason:
            counts[row["provider"], reason] += 1
    lines = [[*key, count] for key, count in sorted(counts.items(), key=lambda item: -item[1])]
    return Table("Reasons for rejection or missing verdict", ("provider", "reason", "clips"), lines)


def _costs(rows: Sequence[Row], providers: Sequence[str]) -> Table:
    lines = []
    for provider in providers:
        answered = [row for row in rows if row["provider"] == provider and row["status"] == OK]
        paid = [row for row in answered if row["cost"] is not None]
        cost = sum(row["cost"] for row in paid)
        live = sum(row["live"] for row in paid)
        seconds = np.median([row["latency_s"] for row in answered]) if answered else float("nan")
        lines.append(
            [
                provider,
                len(answered),
                f"{cost:.3f}" if paid else "free",
                f"{cost / live:.3f}" if live else "–",
                f"{np.mean([row['attempts'] for row in paid]):.2f}" if paid else "–",
                f"{seconds:.2f}",
            ]
        )
    columns = (
        "provider", "verdicts", "cost, price units", "cost per live clip, price units", "requests per clip",
        "median latency, s",
    )  # fmt: skip
    note = "A price unit is one of the currency in which the provider's price is configured, that of the contract."
    return Table("Cost and latency", columns, lines, note)
