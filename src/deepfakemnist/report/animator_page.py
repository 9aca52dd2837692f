"""Report page on the training of an animator: its error on people held out, and its losses."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np

from deepfakemnist.report.charts import ROWS
from deepfakemnist.report.pages import render, write_page
from deepfakemnist.report.parts import Block, Chart, Lead, Part, Table
from deepfakemnist.report.units import counted, duration, in_unit

_LEAD = Lead(
    "How the animator of this run was trained, and how well it renders people it has not seen.",
    "L1: mean absolute difference between rendered and true frame, in levels of 255, on pairs of frames of the "
    "held-out clips. An animator that moves nothing has the L1 of a still picture.",
    "A low L1 does not make a good animation: most of a picture does not move. Losses say whether training went on, "
    "not how good the result is; see the page on animation quality.",
)
_LEVELS = 255
#: Steps that are drawn; a chart of more has the same shape.
_MAX_STEPS = 300


def write_animator_page(history: Path, path: Path, notices: Sequence[str] = ()) -> None:
    """Write the page.

    Args:
        history: JSON of a :class:`deepfakemnist.animate.training.loop.TrainingReport`.
        path: HTML file to write.
        notices: see :func:`deepfakemnist.report.pages.write_page`.
    """
    report = json.loads(history.read_text(encoding="utf-8"))
    parts: list[Part | None] = [
        Block("Result", render("sentences.html.j2", sentences=_result(report))),
        _losses(report),
        _training(report),
    ]
    write_page(path, "Training of the animator", _LEAD, [part for part in parts if part is not None], notices)


def _result(report: Mapping[str, Any]) -> list[str]:
    error, still = (_LEVELS * report[name] for name in ("held_out_l1", "copy_l1"))
    better = f"{100 * (1 - error / still):.0f} % less than" if error < still else "no less than"
    of = f"{counted(report['held_out_clips'], 'clip')} of {counted(report['held_out_people'], 'person', 'people')}"
    sentences = [
        f"Held-out L1, on {of}: {error:.2f} levels of 255, {better} the {still:.2f} of a still picture.",
    ]
    if (landmarks := report["held_out_landmark_error"]) is not None:
        sentences.append(
            f"Key points are {100 * landmarks:.1f} % of the image side from the facial points, on average."
        )
    return sentences


def _losses(report: Mapping[str, Any]) -> Chart | None:
    """Return the loss terms by step, without those that are off; None with fewer than two logged steps."""
    logged = report["losses"]
    if len(logged) < 2:
        return None
    names = [name for name in logged[0] if name != "step" and any(one[name] > 0 for one in logged)]
    chosen = sorted(set(np.linspace(0, len(logged) - 1, min(len(logged), _MAX_STEPS)).round().astype(int).tolist()))
    rows = [
        {"step": logged[at]["step"], "term": _term(name), "loss": float(f"{logged[at][name]:.4g}")}
        for at in chosen
        for name in names
        if logged[at][name] > 0
    ]
    drawing = alt.Chart(ROWS).mark_line(point=len(chosen) < 20).encode(
        x=alt.X("step:Q", title="step"),
        y=alt.Y("loss:Q", title="weighted loss", axis=alt.Axis(tickCount=5), scale=alt.Scale(type="log")),
        color=alt.Color(
            "term:N",
            sort=[_term(name) for name in names],
            title=None,
            legend=alt.Legend(orient="bottom", columns=2),
        ),
        tooltip=["step:Q", "term:N", "loss:Q"],
    )  # fmt: skip
    first, last = logged[0]["reconstruction"], logged[-1]["reconstruction"]
    trained = f"{counted(report['clips'], 'clip')} of {counted(report['people'], 'person', 'people')}"
    return Chart(
        "Losses",
        drawing.properties(height=260),
        rows,
        f"Loss terms by training step; the reconstruction loss goes from {first:.3g} to {last:.3g}.",
        f"{counted(report['steps'], 'step')} on {trained}. Logarithmic; each term with its weight.",
        file="animator_losses",
    )


def _term(name: str) -> str:
    """Return the name of a loss term, short enough for a legend on a phone."""
    return name.replace("equivariance_", "equiv. ").replace("_", " ")


def _training(report: Mapping[str, Any]) -> Table:
    rows = [
        ("steps", f"{report['steps']:,}"),
        ("training time", duration(report["seconds"])),
        ("time per step", f"{in_unit(1000 * report['seconds'] / max(report['steps'], 1))} ms"),
        ("device", report["device"]),
        ("reconstruction loss", report["reconstruction"]),
        ("training clips", f"{report['clips']:,}"),
        ("people in training clips", f"{report['people']:,}"),
        ("held-out clips", f"{report['held_out_clips']:,}"),
        ("people in held-out clips", f"{report['held_out_people']:,}"),
    ]
    return Table("Training", ("what", "value"), rows)
