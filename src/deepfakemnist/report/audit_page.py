"""Report page of the confound audit: what besides the face tells real from fake, without a trained detector."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import altair as alt

from deepfakemnist.dataset.audit_statement import (
    CANNOT_TELL,
    DIFFERS,
    LEAK,
    LEAKING,
    NO_DIFFERENCE,
    SLIGHT,
    leaks,
    statements,
)
from deepfakemnist.report.charts import COLOURS, GUIDE, ROWS
from deepfakemnist.report.pages import render, write_page
from deepfakemnist.report.parts import Block, Chart, Lead, Part, Table
from deepfakemnist.report.rounding import decimals
from deepfakemnist.report.units import counted
from deepfakemnist.tables.schemas import Row

_LEAD = Lead(
    "Whether anything besides the face tells real from fake: facts of files and of pictures, one by one and in a "
    "random forest, without a trained detector.",
    "Container (length, rate, tags, codec, the encoder's note) and traces (frozen start, repeated frames, a start "
    "equal to the source, padding): nothing in a picture causes these, so a difference is a leak. Size, start, "
    "brightness and pictures follow from what is shown; there a difference is the baseline that a detector must beat. "
    "AUC: 50 % is chance, 100 % a perfect separation.",
    "No difference is reported with an upper limit of the AUC; cannot tell means too few videos, not that there is no "
    "difference. The audit detects only what it measures.",
)
_TABLE_NOTE = (
    "AUC: of the most telling fact, over all videos. At most: upper limit of the AUCs of all facts, with 95 % "
    "confidence; a dash: all are equal. p: permutation test within people, adjusted for the number of facts, sets and "
    "qualities."
)
_DETAIL_NOTE = (
    "In pairs: of the most telling fact, over pairs of videos of one person. All together: a random forest, "
    "cross-validated with folds disjoint by person. Detectable: the AUC that would have been found four times in five. "
    "Names of files and folders state the class on purpose, and synthetic-media marks are stored outside the coded "
    "pictures; both reach no detector and are left out."
)
_COLOUR_OF = {LEAK: COLOURS[5], DIFFERS: COLOURS[1], SLIGHT: COLOURS[4], NO_DIFFERENCE: COLOURS[2], CANNOT_TELL: GUIDE}


def write_audit_page(rows: Sequence[Row], path: Path, notices: Sequence[str] = ()) -> None:
    """Write the rows of :func:`deepfakemnist.dataset.audit.audit_dataset` as a page, the verdict first.

    Args:
        rows: rows of the audit.
        path: HTML file to write.
        notices: see :func:`deepfakemnist.report.pages.write_page`.
    """
    found = [
        (
            *(row[name] for name in ("quality", "facts", "verdict", "fact")),
            *_with_limit(row["auc"], row["auc_limit"]),
            "–" if row["p"] is None else f"{row['p']:.3f}",
            *(row[name] for name in ("videos", "people")),
        )
        for row in rows
    ]
    details = [
        (
            *(row[name] for name in ("quality", "facts")),
            *(_percent(row[name]) for name in ("pair_auc", "forest_auc", "detectable_auc")),
            row["telling"],
        )
        for row in rows
    ]
    columns = ("quality", "facts", "verdict", "most telling fact", "AUC, %", "at most, %", "p", "videos", "people")
    more = ("quality", "facts", "in pairs, %", "all together, %", "detectable, %", "best single facts (AUC)")
    parts: list[Part | None] = [
        Block("Verdict", render("sentences.html.j2", sentences=[_verdict(rows), *statements(rows)])),
        _chart(rows),
        Table("Separability of real and fake", columns, found, _TABLE_NOTE),
        Table("In detail", more, details, _DETAIL_NOTE),
    ]
    write_page(path, "Confound audit", _LEAD, [part for part in parts if part is not None], notices)


def _verdict(rows: Sequence[Row]) -> str:
    """Return one sentence on the sets in which a difference would be a leak."""
    of = [row for row in rows if row["facts"] in LEAKING]
    if not of:
        return "Nothing was tested for leaks: there are no videos."
    tests = f"{counted(len(of), 'test')} for differences that no picture can cause"
    if found := leaks(of):
        return f"{counted(len(found), 'leak')} in {tests}; a release is refused."
    unsure = sum(row["verdict"] == CANNOT_TELL for row in of)
    return f"No leak was found in {tests}" + (f", of which {unsure} cannot tell: too few videos." if unsure else ".")


def _chart(rows: Sequence[Row]) -> Chart | None:
    """Return the most telling fact's AUC, and the limit of all, per quality and set of facts."""
    shown = [
        {"facts": row["facts"], "quality": row["quality"], "verdict": row["verdict"],
         "fact": row["fact"] or "none varies", "AUC %": round(100 * row["auc"], 1),
         "at most %": round(100 * (row["auc"] if row["auc_limit"] is None else row["auc_limit"]), 1)}
        for row in rows
        if row["auc"] is not None
    ]  # fmt: skip
    if not shown:
        return None
    facts = list(dict.fromkeys(row["facts"] for row in shown))
    qualities = list(dict.fromkeys(row["quality"] for row in shown))
    verdicts = [name for name in _COLOUR_OF if any(row["verdict"] == name for row in shown)]
    scale = alt.Scale(domain=[50, 100])
    base = alt.Chart(ROWS).encode(
        y=alt.Y("facts:N", sort=facts, title=None),
        yOffset=alt.YOffset("quality:N", sort=qualities),
        color=alt.Color(
            "verdict:N",
            title=None,
            scale=alt.Scale(domain=verdicts, range=[_COLOUR_OF[name] for name in verdicts]),
            legend=alt.Legend(orient="bottom", columns=3),
        ),
        tooltip=["quality:N", "facts:N", "verdict:N", "fact:N", "AUC %:Q", "at most %:Q"],
    )
    points = base.mark_point(filled=True, size=60, opacity=1).encode(
        x=alt.X("AUC %:Q", title="AUC of the most telling fact, %", scale=scale)
    )
    lines = base.mark_rule(strokeWidth=2).encode(x=alt.X("AUC %:Q", scale=scale), x2="at most %:Q")
    best = max(shown, key=lambda row: row["AUC %"])
    videos, people = (max(row[name] for row in rows) for name in ("videos", "people"))
    return Chart(
        "Separability by facts and quality",
        (lines + points).properties(height=len(facts) * (12 * len(qualities) + 8)),
        shown,
        f"AUC of the most telling fact by set of facts and quality; the largest is {best['AUC %']:.0f} %, "
        f"of {best['facts']} at {best['quality']}.",
        f"Up to {counted(videos, 'video')} of {counted(people, 'person', 'people')} per quality. Lines reach to the "
        f"upper limit. Within a set, from above: {', '.join(qualities)}.",
        file="separability",
    )


def _with_limit(auc: float | None, limit: float | None) -> tuple[str, str]:
    """Return AUC and limit in percent, with the decimals that the distance between them justifies."""
    if auc is None or limit is None:
        return _percent(auc), _percent(limit)
    digits = decimals(100 * (2 * auc - limit), 100 * limit)
    return f"{100 * auc:.{digits}f}", f"{100 * limit:.{digits}f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"
