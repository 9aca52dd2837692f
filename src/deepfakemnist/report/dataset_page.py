"""Report pages on the dataset's contents and on what was left out of it."""

from __future__ import annotations

import json
from pathlib import Path

from deepfakemnist.config.base import SPLITS
from deepfakemnist.report.pages import write_page
from deepfakemnist.report.parts import Table
from deepfakemnist.tables.files import read_rows
from deepfakemnist.tables.schemas import OK


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
            [
                (split, counts["real"], counts["fake"], "not known" if counts["people"] is None else counts["people"])
                for split, counts in ((split, data["splits"][split]) for split in SPLITS)
            ],
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
    """List every rejected or failed item with its stage, reason and detail."""
    columns = ("kind", "video_id", "action", "stage", "status", "reason", "detail")
    items = read_rows(ledger)
    out = [row for row in items if row["status"] != OK]
    shown = [[row[name] for name in columns] for row in out]
    intro = f"{len(items)} items; {len(items) - len(out)} passed every stage."
    write_page(path, "Ledger", intro, [Table("Rejected and failed items", columns, shown)])
