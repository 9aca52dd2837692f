"""Self-contained HTML pages with sortable tables, which open offline: dataset, ledger, metrics and per-action pages."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from deepfakemnist.config.base import SPLITS
from deepfakemnist.report.paper import paper_accuracy
from deepfakemnist.tables.files import atomic_path, read_rows
from deepfakemnist.tables.schemas import OK

_ENVIRONMENT = Environment(
    loader=PackageLoader("deepfakemnist.report", "templates"), autoescape=True, undefined=StrictUndefined
)
#: Maximum number of rejected and failed items on the ledger page; ledger.parquet holds all.
_MAX_LEDGER_ROWS = 2000
#: Metrics shown without an interval, and their labels.
_MORE_METRICS = {
    "accuracy": "accuracy",
    "eer": "EER",
    "average_precision": "AP",
    "tpr_at_fpr_1": "TPR at FPR 1 %",
    "tpr_at_fpr_5": "TPR at FPR 5 %",
    "brier": "Brier",
    "calibration_error": "ECE",
    "apcer": "APCER",
    "bpcer": "BPCER",
    "acer": "ACER",
}


@dataclass(frozen=True)
class Picture:
    """A table cell with a picture, as a data URL, above its caption."""

    url: str
    caption: str


@dataclass(frozen=True)
class Table:
    """A titled table. Cells are shown unchanged, numbers right-aligned, pictures above their caption."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


def write_page(path: Path, title: str, intro: str, tables: Sequence[Table]) -> None:
    """Write one HTML page with sortable tables."""
    text = _ENVIRONMENT.get_template("page.html.j2").render(title=title, intro=intro, tables=tables)
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8")


def write_dataset_page(summary: Path, path: Path) -> None:
    """Write the counts of the dataset: outcomes, actions, splits, sizes, and reasons of rejection."""
    data = json.loads(summary.read_text(encoding="utf-8"))
    states = ("ok", "rejected", "failed")
    tables = [
        Table(
            "Outcomes",
            ("", *states, "total"),
            [
                (kind, *(counts.get(state, 0) for state in states), sum(counts.values()))
                for kind, counts in data["outcomes"].items()
            ],
        ),
        Table(
            "Fakes by action",
            ("action", *states),
            [(action, *(counts.get(state, 0) for state in states)) for action, counts in data["actions"].items()],
        ),
        Table(
            "Splits",
            ("split", "real videos", "fake videos", "people"),
            [(split, *(data["splits"][split][name] for name in ("real", "fake", "people"))) for split in SPLITS],
        ),
        Table(
            "Size on disk",
            ("quality", "MB"),
            [(quality, f"{size / 1e6:.2f}") for quality, size in data["bytes"].items()],
        ),
        Table("Reasons of rejection and failure", ("kind · stage · reason", "count"), list(data["reasons"].items())),
    ]
    intro = f"{data['frames']} still frames in total. Every fake is a synthetic video of an event that never happened."
    write_page(path, "Dataset", intro, tables)


def write_ledger_page(ledger: Path, path: Path) -> None:
    """List every rejected or failed source, driver and fake with its stage, reason and detail."""
    columns = ("kind", "video_id", "action", "stage", "status", "reason", "detail")
    items = read_rows(ledger)
    out = [row for row in items if row["status"] != OK]
    shown = [[row[name] for name in columns] for row in out[:_MAX_LEDGER_ROWS]]
    intro = f"{len(items)} sources, drivers and fakes; {len(items) - len(out)} passed every stage."
    if len(out) > len(shown):
        intro += f" The first {len(shown)} of the {len(out)} others are listed; ledger.parquet holds all."
    write_page(path, "Ledger", intro, [Table("Rejected and failed items", columns, shown)])


def write_metrics_page(metrics: Path, pairs: Path, path: Path) -> None:
    """Show all metrics of every detector, training set and test quality, and pairwise comparisons of detectors."""
    rows = []
    for row in read_tsv(metrics):
        in_paper = (row["split"], row["level"]) == ("test", "frame")  # the only figures in the paper
        paper = paper_accuracy(row["detector"], row["trained_on"], row["tested_on"]) if in_paper else None
        rows.append(
            [
                *(row[name] for name in ("detector", "trained_on", "tested_on", "split", "level", "seed")),
                _percent(row["balanced_accuracy"]),
                _interval(row, "balanced_accuracy"),
                paper or "",
                "50",
                _percent(row["auc"]),
                _interval(row, "auc"),
                *(_percent(row[name]) for name in _MORE_METRICS),
                *(row[name] for name in ("n_videos", "n_frames", "n_people", "n_without_frames")),
            ]
        )
    columns = (
        "detector",
        "trained on",
        "tested on",
        "split",
        "level",
        "seed",
        "balanced accuracy %",
        "95 % CI",
        "paper %",
        "chance %",
        "AUC %",
        "95 % CI",
        *(f"{title} %" for title in _MORE_METRICS.values()),
        "videos",
        "frames",
        "people",
        "without face",
    )
    compared = [
        [
            *(row[name] for name in ("detector", "other", "trained_on", "tested_on", "split", "level", "seed")),
            *(text for name in ("accuracy", "auc") for text in _difference(row, name)),
        ]
        for row in read_tsv(pairs)
    ]
    pair_columns = (
        "detector",
        "minus",
        "trained on",
        "tested on",
        "split",
        "level",
        "seed",
        "accuracy, points",
        "95 % CI",
        "p",
        "AUC, points",
        "95 % CI",
        "p",
    )
    intro = (
        "Confidence intervals bootstrap over people. The paper's figures (arXiv 2108.07949; ≈: read off a chart) are "
        "frame-level accuracies on its own 20,000 videos, as many fakes as reals, split by video; they are comparable "
        "with balanced accuracies only, of a run of that size on those sources. Chance is that of balanced accuracy; "
        "that of plain accuracy is the share of the larger class. APCER is the "
        "fraction of missed fakes of the worst action, BPCER that of reals classified as fake, ACER their mean. "
        "A video without a face gets score 0.5. Pairwise comparisons use the same resamples of people."
    )
    tables = [
        Table("Metrics by detector, training set and test quality", columns, rows),
        Table("Pairwise comparison of detectors", pair_columns, compared),
    ]
    write_page(path, "Detectors", intro, tables)


def _difference(row: dict[str, str], name: str) -> tuple[str, str, str]:
    value, p = row[f"{name}_difference"], row[f"{name}_p"]
    return f"{100 * float(value):+.2f}" if value else "–", _interval(row, name), f"{float(p):.3f}" if p else "–"


def write_actions_page(actions: Path, path: Path) -> None:
    """Show balanced accuracy and AUC on the fakes of each action against all reals, which outnumber them."""
    rows = [
        [
            *(row[name] for name in ("detector", "trained_on", "tested_on", "split", "level", "seed", "action")),
            *(_percent(row[name]) for name in ("balanced_accuracy", "auc")),
            row["n_videos"],
        ]
        for row in read_tsv(actions)
    ]
    columns = (
        "detector",
        "trained on",
        "tested on",
        "split",
        "level",
        "seed",
        "action",
        "balanced accuracy %",
        "AUC %",
        "videos",
    )
    intro = "Fakes of one action against all reals. Chance is 50 % in both columns of percentages."
    write_page(path, "Metrics by action", intro, [Table("Actions", columns, rows)])


def read_tsv(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table with a header line."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def _percent(value: str) -> str:
    return f"{100 * float(value):.2f}" if value else "–"


def _interval(row: dict[str, str], name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f"{100 * float(low):.1f}–{100 * float(high):.1f}" if low and high else "–"
