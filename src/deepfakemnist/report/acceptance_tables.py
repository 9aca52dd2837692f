"""Report tables of liveness against animation quality: fakes that each of them accepts, and figures of both groups."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from deepfakemnist.config.base import ACTIONS
from deepfakemnist.liveness.select import FIGURES, NOT_LIVE, UNANSWERED
from deepfakemnist.report.liveness_charts import live_percent
from deepfakemnist.report.parts import Table
from deepfakemnist.tables.schemas import OK, Row

#: Passed by liveness and by quality: both, only liveness, only quality, neither.
_OUTCOMES = ((True, True), (True, False), (False, True), (False, False))
_PERCENTILES = (10, 50, 90)


def acceptance_table(selection: Sequence[Row], verdicts: Sequence[Row], limits: Mapping[str, float]) -> Table:
    """Return counts of fakes by liveness and quality: per action and in total, then in total per provider.

    Args:
        selection: rows of ``schemas.SELECTED`` under a quality gate.
        verdicts: rows of ``schemas.VERDICTS``; a provider's row counts the clips that it answered.
        limits: the gate, setting → limit, for the title.
    """
    passed = {row["video_id"]: bool(row["quality_passed"]) for row in selection}
    lines = []
    for action in (*ACTIONS, "all"):
        mine = [row for row in selection if action in (row["action"], "all")]
        if mine:
            pairs = [(is_live(row), passed[row["video_id"]]) for row in mine]
            lines.append(["all providers", action, len(pairs), *map(pairs.count, _OUTCOMES)])
    for provider in sorted({row["provider"] for row in verdicts}):
        answered = [row for row in verdicts if row["provider"] == provider and row["status"] == OK]
        pairs = [(bool(row["live"]), passed[row["video_id"]]) for row in answered if row["video_id"] in passed]
        lines.append([provider, "all", len(pairs), *map(pairs.count, _OUTCOMES)])
    gate = ", ".join(f"{setting} {limit:g}" for setting, limit in limits.items())
    columns = ("liveness", "action", "fakes", "both", "only liveness", "only quality", "neither")
    return Table(f"Accepted by liveness and by quality ({gate})", columns, lines)


def animators_table(selection: Sequence[Row]) -> Table:
    """Return how many fakes of each animator liveness accepts, per action and in total.

    Args:
        selection: rows of ``schemas.SELECTED``.
    """
    labels = sorted({row["animator"] for row in selection})
    lines = []
    for action in (*ACTIONS, "all"):
        mine = [row for row in selection if action in (row["action"], "all")]
        cells: list[str] = []
        for label in labels:
            live = [is_live(row) for row in mine if row["animator"] == label]
            cells.append(f"{sum(live)} of {len(live)}: {live_percent(sum(live), len(live))}" if live else "–")
        if mine:
            lines.append([action, *cells])
    note = "Accepted fakes of those checked, and percent with the 95 % interval."
    return Table("Accepted by liveness, by animator", ("action", *labels), lines, note)


def figures_table(selection: Sequence[Row], judged: Sequence[Row]) -> Table:
    """Return percentiles of the gate's figures, of the fakes that liveness accepted and of those that it rejected.

    Args:
        selection: rows of ``schemas.SELECTED``, with or without a gate.
        judged: rows of ``schemas.ANIMATION_QUALITY``.
    """
    of_video = {row["video_id"]: row for row in judged}
    lines = []
    for column, name in FIGURES.values():
        for group, live in (("accepted", True), ("rejected", False)):
            found = [of_video.get(row["video_id"], {}).get(column) for row in selection if is_live(row) == live]
            known = [value for value in found if value is not None and math.isfinite(value)]
            shown = [f"{value:.2f}" for value in np.percentile(known, _PERCENTILES)] if known else ["–"] * 3
            lines.append([name, group, len(known), *shown])
    return Table(
        "Figures of the quality gate by liveness", ("figure", "liveness", "fakes", "10 %", "median", "90 %"), lines
    )


def is_live(row: Row) -> bool:
    """Return whether every provider classified the fake of a SELECTED row as live, whatever its quality."""
    return row["reason"] not in (NOT_LIVE, UNANSWERED)
