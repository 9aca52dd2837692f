"""Report page on the dataset's contents: outcomes by stage, fakes by action, splits, sizes and lengths."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepfakemnist.config.base import ACTIONS, SPLITS
from deepfakemnist.report.charts import COLOURS, FAKE, GUIDE, REAL, ROWS
from deepfakemnist.report.losses import losses_by_action
from deepfakemnist.report.pages import render, write_page
from deepfakemnist.report.parts import Block, Chart, Lead, Part, Table
from deepfakemnist.report.units import counted, duration, in_unit, size_unit
from deepfakemnist.tables.files import read_rows, read_table
from deepfakemnist.tables.schemas import FAILED, OK, REJECTED, Row

_LEAD = Lead(
    "What the dataset holds, and what became of every source, driver and fake.",
    "An item is counted at the stage that dropped it, or as passed if none did.",
    "Counts say nothing of quality. Every fake is synthetic: what it shows never happened.",
)
#: Stages in the order of the pipeline; others come last.
_STAGES = (
    "sheet",
    "ingest",
    "import_released",
    "crop",
    "extract_motion",
    "plan",
    "animate",
    "select",
    "compress",
    "frames",
)
#: Fakes whose source or driver is unusable were planned, and never rendered nor judged.
_NOT_MADE = "not made"
_OUTCOMES = {OK: "accepted", REJECTED: "rejected", FAILED: "failed", _NOT_MADE: _NOT_MADE}
_OUTCOME_COLOURS = [COLOURS[2], COLOURS[1], COLOURS[3], GUIDE]
_BINS = 24


def write_dataset_page(
    summary: Path,
    ledger: Path,
    videos: Path,
    path: Path,
    quota: Sequence[Mapping[str, Any]] = (),
    notices: Sequence[str] = (),
) -> None:
    """Write the page.

    Args:
        summary, ledger, videos: summary.json, ledger.parquet and videos.parquet of the manifest.
        path: HTML file to write.
        quota: rows of the table of quotas, with ``action`` and ``wanted``; empty without a quota.
        notices: see :func:`deepfakemnist.report.pages.write_page`.
    """
    data = json.loads(summary.read_text(encoding="utf-8"))
    items = read_rows(ledger, ["kind", "action", "stage", "status", "reason"])
    table = read_table(videos, ["quality", "label", "split", "person_id", "frames", "fps", "bytes"])
    wanted = Counter[str]()
    for row in quota:
        wanted[row["action"]] += int(row["wanted"])
    qualities = list(data["bytes"])
    best = table.filter(pc.equal(table["quality"], qualities[0])) if qualities else table
    parts = [
        Block("", render("sentences.html.j2", sentences=_glance(data, best, table))),
        _actions_chart(_outcomes_of_actions(items, data["actions"]), wanted),
        _missing_actions(items, data["actions"]),
        _splits(data["splits"], best),
        _sizes(qualities, table),
        *_lengths(best),
        _stages(items),
    ]
    write_page(path, "Dataset", _LEAD, [part for part in parts if part is not None], notices)


def _glance(data: Mapping[str, Any], best: pa.Table, table: pa.Table) -> list[str]:
    """Return what is in the dataset in sentences."""
    splits = data["splits"].values()
    real, fake = (sum(one[label] for one in splits) for label in ("real", "fake"))
    is_known = all(one["people"] is not None for one in splits)
    people = f" of {counted(pc.count_distinct(best['person_id']).as_py(), 'person', 'people')}" if is_known else ""
    factor, unit = size_unit([pc.sum(table["bytes"]).as_py() or 0])
    size = in_unit((pc.sum(table["bytes"]).as_py() or 0) / factor)
    qualities = list(data["bytes"])
    return [
        f"{counted(real, 'real video')} and {counted(fake, 'fake')}{people}, {duration(float(_seconds(best).sum()))} "
        f"in all, each at {counted(len(qualities), 'quality', 'qualities')} ({', '.join(qualities)}): {size} {unit}, "
        f"and {counted(data['frames'], 'still frame')}."
    ]


def _seconds(table: pa.Table) -> np.ndarray:
    return np.asarray(pc.divide(table["frames"].cast(pa.float64()), table["fps"]).to_numpy(), dtype=float)


def _outcomes_of_actions(items: Sequence[Row], actions: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """Return action → outcome → fakes, with those that were not made apart from rejected ones."""
    unmade = Counter(
        row["action"] for row in items if (row["kind"], row["stage"], row["status"]) == ("fake", "plan", REJECTED)
    )
    found = {}
    for action, counts in actions.items():
        found[action] = dict(counts) | {_NOT_MADE: unmade[action]}
        found[action][REJECTED] = counts.get(REJECTED, 0) - unmade[action]
    return found


def _actions_chart(actions: Mapping[str, Mapping[str, int]], wanted: Mapping[str, int]) -> Part:
    named: list[str] = [action for action in ACTIONS if action in actions or action in wanted]
    named += [action for action in actions if action and action not in named]
    title = "Fakes by action"
    if not named:
        return Block(title, render("sentences.html.j2", sentences=["No fake was planned."]))
    rows = [
        {"action": action, "outcome": name, "fakes": actions.get(action, {}).get(state, 0), "quota": wanted.get(action)}
        for action in named
        for state, name in _OUTCOMES.items()
    ]
    order = list(_OUTCOMES.values())
    base = alt.Chart(ROWS).encode(y=alt.Y("action:N", sort=named, title=None))
    drawing: alt.TopLevelMixin = base.mark_bar().encode(
        x=alt.X("fakes:Q", title="fakes", axis=alt.Axis(tickMinStep=1)),
        color=alt.Color(
            "outcome:N", sort=order, title=None, scale=alt.Scale(domain=order, range=_OUTCOME_COLOURS),
            legend=alt.Legend(orient="bottom"),
        ),
        order=alt.Order("rank:Q"),
        tooltip=["action:N", "outcome:N", "fakes:Q"],
    ).transform_calculate(rank=f"indexof({json.dumps(order)}, datum.outcome)")  # fmt: skip
    if wanted:
        drawing = drawing + base.mark_tick(color="#888888", thickness=3).encode(x="quota:Q", tooltip=["quota:Q"])
    made = sum(counts.get(OK, 0) for counts in actions.values())
    total = sum(sum(counts.values()) for counts in actions.values())
    quota = " Grey marks: the quota." if wanted else ""
    return Chart(
        title,
        drawing.properties(height=18 * len(named)),
        rows,
        f"Bars of planned fakes by action and outcome: {made} of {total} planned fakes are accepted.",
        f"{counted(total, 'planned fake')}, {made:,} of them accepted into the dataset. Not made: the source or the "
        f"driver is unusable.{quota}",
        file="fakes_by_action",
    )


def _missing_actions(items: Sequence[Row], actions: Mapping[str, Mapping[str, int]]) -> Part | None:
    """Return which actions have no fake in the dataset, and why."""
    sentences = []
    losses = losses_by_action(items)
    for action in ACTIONS:
        counts = actions.get(action, {})
        if counts and not counts.get(OK):
            why = losses[action].most_common()
            named = ", ".join(f"{count} at {stage} ({reason})" for (stage, reason), count in why)
            sentences.append(f"{action}: 0 accepted of {sum(counts.values())}; dropped: {named}.")
    sentences += [f"{action}: {_why_not_planned(items, action)}." for action in ACTIONS if action not in actions]
    if not sentences:
        return None
    return Block("Actions without an accepted fake", render("sentences.html.j2", sentences=sentences))


def _why_not_planned(items: Sequence[Row], action: str) -> str:
    """Return why there is not even a candidate of an action."""
    drivers = [row for row in items if row["kind"] == "driver" and row["action"] == action]
    if not drivers:
        return "not planned, and no driver performs it"
    if any(row["status"] == OK for row in drivers):
        return "not planned, although there are drivers; see plan.actions"
    why = Counter(f"{row['stage']} ({row['reason']})" for row in drivers)
    named = ", ".join(f"{count} at {where}" for where, count in why.most_common())
    return f"not planned, because all its drivers were dropped: {named}"


def _splits(splits: Mapping[str, Mapping[str, Any]], best: pa.Table) -> Table:
    seconds, of_split = _seconds(best), np.asarray(best["split"].to_pylist(), dtype=object)
    rows = []
    for split in SPLITS:
        real, fake, people = (splits[split][name] for name in ("real", "fake", "people"))
        share = f"{100 * fake / (real + fake):.0f}" if real + fake else "–"
        hours = float(seconds[of_split == split].sum()) / 60
        rows.append((split, "not known" if people is None else people, real, fake, share, in_unit(hours)))
    columns = ("split", "people", "real videos", "fakes", "fakes, % of videos", "length, min")
    return Table("Splits", columns, rows, "People are those of the sources, by their ids.", file="splits")


def _sizes(qualities: Sequence[str], table: pa.Table) -> Table:
    factor, unit = size_unit([pc.sum(table["bytes"]).as_py() or 0])
    rows = []
    for quality in qualities:
        of = table.filter(pc.equal(table["quality"], quality))
        cells: list[Any] = [quality, of.num_rows, in_unit((pc.sum(of["bytes"]).as_py() or 0) / factor)]
        for label in (0, 1):
            one = of.filter(pc.equal(of["label"], label))
            seconds = float(_seconds(one).sum())
            cells.append(in_unit(8e-3 * (pc.sum(one["bytes"]).as_py() or 0) / seconds) if seconds else "–")
        rows.append(cells)
    columns = ("quality", "videos", f"size, {unit}", "reals, kbit/s", "fakes, kbit/s")
    note = (
        "Rates of reals and fakes may differ, as an animation has other detail to code; the confound audit measures it."
    )
    return Table("Size on disk", columns, rows, note, file="sizes")


def _lengths(best: pa.Table) -> list[Part]:
    seconds = _seconds(best)
    if not len(seconds):
        return []
    low, high = float(seconds.min()), float(seconds.max())
    if low == high:
        sentence = f"Every video is {duration(low)} long."
        return [Block("Length of the videos", render("sentences.html.j2", sentences=[sentence]))]
    edges = np.linspace(low, high, _BINS + 1)
    labels = best["label"].to_numpy()
    rows = [
        {"length_s": round(float(start), 3), "length_s_end": round(float(end), 3), "class": name, "videos": int(count)}
        for name, label in (("real", 0), ("fake", 1))
        for start, end, count in zip(
            edges[:-1], edges[1:], np.histogram(seconds[labels == label], edges)[0], strict=True
        )
    ]
    drawing = (
        alt.Chart(ROWS)
        .mark_bar()
        .encode(
            x=alt.X("length_s:Q", title="length, s", bin="binned"),
            x2="length_s_end:Q",
            y=alt.Y("videos:Q", title="videos", axis=alt.Axis(tickMinStep=1)),
            color=alt.Color(
                "class:N",
                title=None,
                scale=alt.Scale(domain=["real", "fake"], range=[REAL, FAKE]),
                legend=alt.Legend(orient="bottom"),
            ),
            tooltip=["length_s:Q", "length_s_end:Q", "class:N", "videos:Q"],
        )
        .properties(height=180)
    )
    return [
        Chart(
            "Length of the videos",
            drawing,
            rows,
            f"Histogram of the lengths of real and fake videos, from {duration(low)} to {duration(high)}.",
            f"{counted(len(seconds), 'video')}, median {duration(float(np.median(seconds)))}.",
            file="lengths",
        )
    ]


def _stages(items: Sequence[Row]) -> Table:
    """Return how many items entered each stage, and what became of them there."""
    counts = Counter((row["kind"], row["stage"], row["status"]) for row in items)
    rows = []
    for kind in dict.fromkeys(kind for kind, _, _ in sorted(counts, key=lambda key: _rank(key[0], _KINDS))):
        stages = sorted({stage for one, stage, _ in counts if one == kind}, key=lambda stage: _rank(stage, _STAGES))
        left = sum(count for (one, _, _), count in counts.items() if one == kind)
        for stage in stages:
            here = {state: counts[kind, stage, state] for state in _OUTCOMES}
            out = here[REJECTED] + here[FAILED]
            rows.append((kind, stage, left, left - out, here[REJECTED], here[FAILED]))
            left -= out
    note = "Only stages that dropped an item, and the last one. The ledger lists every dropped item with its reason."
    columns = ("kind", "stage", "entered", "passed", "rejected", "failed")
    return Table("Outcomes by stage", columns, rows, note, file="outcomes")


_KINDS = ("source", "driver", "fake")


def _rank(name: str, order: Sequence[str]) -> int:
    return order.index(name) if name in order else len(order)
