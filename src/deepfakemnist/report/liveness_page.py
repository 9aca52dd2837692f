"""Liveness report page: pass rates of fakes, agreement of providers, score histograms and cost."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import matplotlib
import numpy as np
from scipy.stats import binomtest

from deepfakemnist.config.base import ACTIONS
from deepfakemnist.report.acceptance_tables import acceptance_table, animators_table, figures_table, is_live
from deepfakemnist.report.pages import write_page
from deepfakemnist.report.parts import Table
from deepfakemnist.tables.files import atomic_path, read_rows
from deepfakemnist.tables.schemas import OK, Row

matplotlib.use("Agg")
from matplotlib import pyplot as plt

_INTRO = (
    "A fake is accepted if every provider classifies it as live. All clips are fakes, so live % is the APCER of "
    "ISO/IEC 30107-3 on these attacks. Intervals are 95 % Wilson intervals over clips; clips of one person or one "
    "driver are not independent, so the true intervals are wider. A clip that a cheaper provider rejected is not sent "
    "to a more expensive one: rates of gated providers cover only the clips sent to them. Liveness does not see "
    "quality: a quiet, clean fake may fail and a torn one pass. Figures of the quality gate are those of the page on "
    "animation quality; limits on them are set in select, and a fake must then pass both."
)
_BINS = 24
#: Both live, only one, only the other, neither.
_PAIRS = ((True, True), (True, False), (False, True), (False, False))
_LIVE, _NOT_LIVE = "#2a7f62", "#b0413e"


def write_liveness_page(
    verdicts: Sequence[Path],
    selected: Sequence[Path],
    judged: Sequence[Path],
    path: Path,
    limits: Mapping[str, float] | None = None,
) -> None:
    """Write an HTML page: pass rates per action and provider, quality, agreement of providers, reasons and cost.

    Args:
        verdicts: VERDICTS tables of all providers and shards.
        selected: SELECTED tables of all shards.
        judged: ANIMATION_QUALITY tables of all shards.
        path: page to write.
        limits: the quality gate, setting → limit; None or empty: none was set.
    """
    rows, selection = read_rows(verdicts), read_rows(selected)
    providers = sorted({row["provider"] for row in rows})
    tables = [
        _pass_rates(rows, selection, providers),
        *([animators_table(selection)] if len({row.get("animator") for row in selection}) > 1 else []),
        *([acceptance_table(selection, rows, limits)] if limits else []),
        figures_table(selection, read_rows(judged)),
        _agreement(rows, providers),
        _reasons(rows),
        _costs(rows, providers),
    ]
    write_page(path, "Liveness", _INTRO, tables)


def write_score_figure(verdicts: Sequence[Path], path: Path) -> None:
    """Plot a stacked histogram of scores per provider, live and not live, with its thresholds, as SVG."""
    by_provider: dict[str, list[Row]] = defaultdict(list)
    for row in read_rows(verdicts):
        if row["status"] == OK and row["score"] is not None:
            by_provider[row["provider"]].append(row)
    names = sorted(by_provider) or ["no scores"]
    # A fixed hash salt makes the SVG byte-identical between runs.
    with plt.rc_context({"svg.hashsalt": "deepfakemnist", "svg.fonttype": "none"}):
        figure, axes = plt.subplots(
            1, len(names), figsize=(0.6 + 3.2 * len(names), 2.8), squeeze=False, layout="constrained"
        )
        for axis, name in zip(axes[0], names, strict=True):
            shown = by_provider.get(name, [])
            scores = [[row["score"] for row in shown if row["live"] == live] for live in (True, False)]
            limits = sorted({row["threshold"] for row in shown if row["threshold"] is not None})
            if shown:
                edges = np.linspace(0, max(1.0, *(row["score"] for row in shown)), _BINS + 1)
                axis.hist(scores, bins=edges, stacked=True, color=[_LIVE, _NOT_LIVE], label=["live", "not live"])
                axis.legend(fontsize=8, frameon=False)
            for limit in limits:
                axis.axvline(limit, color="black", linestyle="--", linewidth=1)
            axis.set(title=name, xlabel="score; dashed: threshold", ylabel="clips")
        with atomic_path(path) as part:
            figure.savefig(part, format="svg", metadata={"Date": None})
        plt.close(figure)


def wilson(hits: int, total: int) -> tuple[float, float] | None:
    """Return the 95 % confidence interval of a proportion (Wilson, 1927); None without trials."""
    if not total:
        return None
    interval = binomtest(hits, total).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def agreement(one: Sequence[bool], other: Sequence[bool]) -> tuple[float, float | None]:
    """Return the share of equal verdicts and Cohen's kappa of two providers; None if kappa is undefined."""
    a, b = np.asarray(one, dtype=bool), np.asarray(other, dtype=bool)
    equal = float((a == b).mean())
    by_chance = float(a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean()))
    return equal, (equal - by_chance) / (1 - by_chance) if by_chance < 1 else None


def _pass_rates(rows: Sequence[Row], selection: Sequence[Row], providers: Sequence[str]) -> Table:
    lines = []
    for provider in providers:
        for action in (*ACTIONS, "all"):
            mine = [row for row in rows if row["provider"] == provider and action in (row["action"], "all")]
            if mine:
                answered = [row for row in mine if row["status"] == OK]
                asked = " ".join(sorted({row["asked_motion"] for row in mine if action != "all"}))
                not_asked = sum(row["reason"] == "not_asked" for row in mine)
                unanswered = len(mine) - len(answered) - not_asked
                live = sum(row["live"] for row in answered)
                lines.append([provider, action, asked, *_share(live, len(answered)), not_asked, unanswered])
    for action in (*ACTIONS, "all"):
        checked = [row for row in selection if action in (row["action"], "all")]
        if checked:
            accepted = sum(is_live(row) for row in checked)
            lines.append(["accepted by all", action, "", *_share(accepted, len(checked)), 0, 0])
    columns = ("provider", "action", "motion", "live", "verdicts", "live %", "95 % CI", "not sent", "no verdict")
    return Table("Pass rates", columns, lines)


def _share(hits: int, total: int) -> tuple[int, int, str, str]:
    interval = wilson(hits, total)
    if interval is None:
        return hits, total, "–", "–"
    return hits, total, f"{100 * hits / total:.1f}", f"{100 * interval[0]:.1f}–{100 * interval[1]:.1f}"


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
            lines.append(
                [one, other, len(both), *counts, f"{100 * equal:.1f}", "–" if kappa is None else f"{kappa:.2f}"]
            )
    columns = ("A", "B", "clips", "both live", "only A", "only B", "neither", "agreement %", "Cohen's kappa")
    return Table("Agreement between providers", columns, lines)


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
    columns = ("provider", "verdicts", "cost", "cost per live clip", "requests per clip", "median latency, s")
    return Table("Cost (contract currency) and latency", columns, lines)
