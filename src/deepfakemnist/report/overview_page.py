"""Front page of the report: the run at a glance, what to be wary of, its best and worst detector, and its cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import altair as alt

from deepfakemnist.config.base import SPLITS
from deepfakemnist.dataset.audit_statement import statements
from deepfakemnist.dataset.identity_findings import count_findings
from deepfakemnist.report.charts import COLOURS, ROWS
from deepfakemnist.report.cost import RunCost
from deepfakemnist.report.cost_parts import cost_parts
from deepfakemnist.report.measurement_cells import cell
from deepfakemnist.report.overview import Contents, Ranked, Step
from deepfakemnist.report.pages import render, write_page
from deepfakemnist.report.parts import Block, Chart, Column, Lead, Part, Table
from deepfakemnist.report.units import duration, size_text
from deepfakemnist.tables.schemas import Row

_KEPT, _REJECTED, _FAILED = "kept", "rejected", "failed"
_FATE = alt.Scale(domain=[_KEPT, _REJECTED, _FAILED], range=[COLOURS[2], COLOURS[1], COLOURS[3]])


def write_overview(
    path: Path,
    *,
    contents: Contents,
    steps: Sequence[Step],
    ranked: Sequence[Ranked],
    warnings: Sequence[str],
    audit: Sequence[Row],
    findings: Sequence[Row],
    cost: RunCost,
    made_with: Sequence[tuple[str, str]],
    pages: Sequence[tuple[str, str, str]],
    actions: Sequence[str],
    config: str = "",
    simulated: Sequence[str] = (),
    notices: Sequence[str] = (),
) -> None:
    """Write the front page.

    Args:
        path: HTML file to write.
        contents, steps, ranked, warnings: see :mod:`deepfakemnist.report.overview`.
        audit, findings: rows of the confound audit and of the identity audit.
        cost: of the run.
        made_with: name and value of versions, seed, config and weights.
        pages: file name, title and content of each other page of the report.
        actions: actions of the config, in its order.
        config: the whole config as text; it holds no keys, which come from the environment.
        simulated: liveness vendors whose answers a simulator gave.
        notices: sentences above everything.
    """
    parts: list[Part] = []
    if warnings:
        parts.append(Block("Read this first", render("warnings.html.j2", warnings=warnings)))
    parts += [
        Block("At a glance", render("glance.html.j2", tiles=_tiles(contents, cost, simulated))),
        _funnel_chart(steps),
        _action_chart(contents, actions),
        _splits(contents),
        _detectors(ranked),
        Block("Audit", render("bullets.html.j2", sentences=_audit_sentences(audit, findings))),
        *cost_parts(cost, simulated),
        Block("Pages", render("page_list.html.j2", pages=pages)),
        Table("Made with", (Column("what", is_name=True), Column("value", is_name=True)), list(made_with)),
    ]
    if config:
        parts.append(Block("Config", render("config.html.j2", config=config)))
    lead = Lead(
        f"A dataset of {contents.count(0):,} real and {contents.count(1):,} fake talking-head videos, and detectors "
        "trained to tell them apart. Fakes are real faces animated by the motion of other people; nothing in them "
        "happened.",
        "The chart shows how many videos each stage kept; the pages listed below give every number with what "
        "it was measured on.",
        "Fakes are for research on detection; they are not evidence of anything about the people shown.",
    )
    write_page(path, "Overview", lead, parts, notices)


def _tiles(contents: Contents, cost: RunCost, simulated: Sequence[str]) -> list[tuple[str, str, str]]:
    """Return label, figure and remark of each tile."""
    fakes = contents.count(1)
    ratio = f"{fakes / contents.count(0):.1f} fakes per real" if contents.count(0) else "no reals"
    people = str(contents.people[""]) if contents.people else "not known"
    tiles = [
        ("people in the videos", people, ", ".join(f"{split} {contents.people.get(split, 0)}" for split in SPLITS)),
        ("videos", f"{contents.count(0) + fakes:,}", f"{contents.count(0):,} real, {fakes:,} fake; {ratio}"),
        ("length", duration(sum(contents.seconds.values())), "at one quality"),
        (
            "size of the videos",
            size_text(sum(contents.bytes_of.values())),
            ", ".join(f"{name} {size_text(size)}" for name, size in contents.bytes_of.items()),
        ),
        (
            "processor time",
            duration(cost.cpu_s),
            f"{duration(cost.job_s)} of jobs; GPUs {duration(cost.gpu_s)}",
        ),
        ("disk", size_text(cost.disk_bytes), "all results, intermediate clips included"),
    ]
    if cost.paid:
        named = ", ".join(
            f"{one.provider}{' (simulated)' if one.provider in simulated else ''} {one.cost:.2f} for {one.answers:,}"
            for one in cost.paid
        )
        real = sum(one.cost for one in cost.paid if one.provider not in simulated)
        tiles.append(("liveness services", f"{real:.2f} paid", f"prices in the contract's currency: {named}"))
    return tiles


def _funnel_chart(steps: Sequence[Step]) -> Chart:
    order = [step.name for step in steps]
    rows: list[dict[str, Any]] = []
    for step in steps:
        rows.append({"step": step.name, "fate": _KEPT, "reason": "", "videos": step.kept})
        rows += [
            {"step": step.name, "fate": status, "reason": reason, "videos": count}
            for (status, reason), count in sorted(step.lost.items(), key=lambda item: -item[1])
        ]
    base = alt.Chart(ROWS).encode(y=alt.Y("step:N", sort=order, title=None, scale=alt.Scale(paddingInner=0.25)))
    bars = base.mark_bar().encode(
        x=alt.X("videos:Q", title="videos", axis=alt.Axis(tickMinStep=1)),
        color=alt.Color("fate:N", scale=_FATE, title=None, legend=alt.Legend(orient="bottom")),
        order=alt.Order("rank:Q"),
        tooltip=["step:N", "fate:N", "reason:N", "videos:Q"],
    )
    drawing = bars.transform_calculate(rank="datum.fate == 'kept' ? 0 : datum.fate == 'rejected' ? 1 : 2").properties(
        height=alt.Step(26)
    )
    lost = "; ".join(
        f"{step.name}: {sum(step.lost.values())} lost ("
        + ", ".join(f"{count} {reason}" for (_, reason), count in step.lost.items())
        + ")"
        for step in steps
        if step.lost
    )
    ends = [last for kind in ("source", "fake") if (last := _last(steps, kind))]
    return Chart(
        "From sources to dataset",
        drawing,
        rows,
        alt="Videos kept and lost at each stage: " + "; ".join(f"{step.name} {step.kept:,}" for step in steps) + ".",
        caption=f"{' and '.join(f'{step.kept:,} {step.name}' for step in ends)}. Left out: {lost or 'nothing'}. "
        "Rejected: excluded by a criterion; failed: an error. The ledger lists every one.",
        file="funnel",
    )


def _last(steps: Sequence[Step], kind: str) -> Step | None:
    return next((step for step in reversed(steps) if step.kind == kind), None)


def _action_chart(contents: Contents, actions: Sequence[str]) -> Chart:
    animators = list(dict.fromkeys(name for name, _ in contents.actions)) or [""]
    named = [*actions, *sorted({action for _, action in contents.actions} - set(actions))]
    rows = [
        {
            "action": action or "not known",
            "animator": animator or "not known",
            "fakes": contents.actions.get((animator, action), 0),
        }
        for action in named
        for animator in animators
    ]
    drawing = (
        alt.Chart(ROWS)
        .mark_bar()
        .encode(
            x=alt.X("action:N", sort=named, title=None),
            y=alt.Y("fakes:Q", title="fakes in the dataset", axis=alt.Axis(tickMinStep=1)),
            color=alt.Color(
                "animator:N", title="animator", legend=alt.Legend(orient="bottom") if len(animators) > 1 else None
            ),
            tooltip=["action:N", "animator:N", "fakes:Q"],
        )
    )
    return Chart(
        "Fakes per action",
        drawing,
        rows,
        alt="Fakes of each action: " + ", ".join(f"{row['action']} {row['fakes']}" for row in rows) + ".",
        caption=f"{contents.count(1):,} fakes, all splits.",
        file="actions",
    )


def _splits(contents: Contents) -> Table:
    rows = [
        (
            split,
            contents.videos.get((split, 0), 0),
            contents.videos.get((split, 1), 0),
            contents.people.get(split, 0) if contents.people else "not known",
        )
        for split in SPLITS
    ]
    return Table("Splits", ("split", "real videos", "fake videos", "people"), rows)


def _detectors(ranked: Sequence[Ranked]) -> Part:
    if not ranked:
        return Block(
            "Detectors", render("sentences.html.j2", sentences=["No detector was evaluated on the test split."])
        )
    chosen = [("best", ranked[0])] + ([("worst", ranked[-1])] if len(ranked) > 1 else [])
    rows = [
        (
            place,
            one.detector,
            one.quality,
            cell([one.row], "auc"),  # type: ignore[list-item]
            cell([one.row], "balanced_accuracy"),  # type: ignore[list-item]
            one.row["n_videos"],
            one.row["n_people"],
        )
        for place, one in chosen
    ]
    columns = ("", "detector", "trained and tested on", "AUC %", "balanced accuracy %", "videos", "people")
    measured = "AUC of whole videos on the test split"
    which = (
        f"Of {len(ranked)} pairs of detector and quality, the one with the highest and the one with the lowest "
        f"{measured}. Selected as extremes, so their difference is probably exaggerated."
        if len(ranked) > 1
        else f"The only pair of detector and quality, with its {measured}."
    )
    note = (
        f"{which} In brackets: the 95 % interval, clustered by person, or the number of people where they are too few "
        f"for one. Chance is 50 %.{_doubt(ranked[0])}"
    )
    return Table("Best and worst detector", columns, rows, note=note, file="best_and_worst")


def _doubt(best: Ranked) -> str:
    """Return a sentence where even the best detector is not shown to do better than chance; else an empty text."""
    low = best.row.get("auc_low")
    return "" if low and float(low) > 0.5 else " Even the best one is not shown to do better than chance."


def _audit_sentences(audit: Sequence[Row], findings: Sequence[Row]) -> list[str]:
    """Return what the audits of confounds and of identities say."""
    sentences = list(statements(audit)) or ["The confound audit has no rows."]
    found = count_findings(findings)
    return [*sentences, f"Faces and pixels compared across people and splits: {found or 'nothing found'}."]
