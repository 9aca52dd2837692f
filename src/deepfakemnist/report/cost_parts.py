"""Cost of the run on the front page: time, memory and disk per stage, and paid answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import altair as alt

from deepfakemnist.report.charts import ROWS
from deepfakemnist.report.cost import RunCost, StageCost
from deepfakemnist.report.pages import render
from deepfakemnist.report.parts import Block, Chart, Part, Table
from deepfakemnist.report.units import duration, size_text

_REMARK = "simulated, nothing paid"


def cost_parts(cost: RunCost, simulated: Sequence[str] = ()) -> list[Part]:
    """Return time, memory and disk per stage, and paid answers, as a summary, charts and tables.

    Args:
        cost: of the run.
        simulated: providers whose answers a simulator gave, at the price that the service would have asked.
    """
    timed = [one for one in cost.stages if one.jobs]
    if not timed:
        nothing = "No record of the jobs' time lies where this page was made, as in runs with results in a bucket."
        return [Block("Cost", render("sentences.html.j2", sentences=[nothing])), *_paid_answers(cost, simulated)]
    order = [one.stage for one in timed]
    summary = (
        f"{sum(one.jobs for one in timed):,} jobs took {duration(cost.cpu_s)} of processor time, "
        f"{duration(cost.job_s)} of job time and {duration(cost.gpu_s)} of GPU time, and left "
        f"{size_text(cost.disk_bytes)} of files. Job time is the sum over jobs, which run side by side; GPU time is "
        "that for which a job held a GPU, loading included. Memory is the largest resident set of a job. A job that "
        "was stopped and run again counts as its last run, and the time of Snakemake itself is in no figure."
    )
    parts: list[Part] = [
        Block("Cost", render("sentences.html.j2", sentences=[summary])),
        _stage_chart("Processor time per stage", timed, order, "cpu_min", "processor time, min", _minutes),
        _stage_chart(
            "Largest memory of a job", timed, order, "memory_mb", "memory, MB", lambda one: round(one.memory_mb)
        ),
        Table(
            "Cost by stage",
            ("stage", "jobs", "processor time, min", "job time, min", "GPU time, min", "memory, MB", "disk, MB"),
            [
                (
                    one.stage,
                    one.jobs,
                    f"{one.cpu_s / 60:.2f}",
                    f"{one.wall_s / 60:.2f}",
                    f"{one.gpu_s / 60:.2f}",
                    f"{one.memory_mb:.0f}" if one.jobs else "–",
                    f"{one.disk_bytes / 1e6:.2f}",
                )
                for one in cost.stages
            ],
            file="cost",
        ),
    ]
    return [*parts, *_paid_answers(cost, simulated)]


def _paid_answers(cost: RunCost, simulated: Sequence[str]) -> list[Part]:
    if not cost.paid:
        return []
    columns = ("provider", "answers", "price, in the contract's currency", "remark")
    rows = [
        (one.provider, one.answers, f"{one.cost:.3f}", "simulated, nothing paid" if one.provider in simulated else "")
        for one in cost.paid
    ]
    return [Table("Paid answers of liveness services", columns, rows)]


def _minutes(one: StageCost) -> float:
    return round(one.cpu_s / 60, 3)


def _stage_chart(
    title: str,
    stages: Sequence[StageCost],
    order: Sequence[str],
    name: str,
    axis: str,
    value: Callable[[StageCost], float],
) -> Chart:
    rows = [{"stage": one.stage, name: value(one), "jobs": one.jobs} for one in stages]
    drawing = (
        alt.Chart(ROWS)
        .mark_bar()
        .encode(
            y=alt.Y("stage:N", sort=list(order), title=None),
            x=alt.X(f"{name}:Q", title=axis, axis=alt.Axis(tickCount=6)),
            tooltip=["stage:N", f"{name}:Q", "jobs:Q"],
        )
        .properties(height=alt.Step(18))
    )
    top = max(stages, key=value, default=None)
    most = f"; most in {top.stage}, {value(top):,}" if top else ""
    return Chart(
        title, drawing, rows, f"Bars of {axis} by stage{most}.", f"{sum(one.jobs for one in stages):,} jobs.", name
    )
