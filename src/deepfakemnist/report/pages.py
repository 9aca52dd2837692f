"""Self-contained HTML pages with sortable tables, which open offline: dataset and ledger pages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from deepfakemnist.config.base import SPLITS
from deepfakemnist.tables.files import atomic_path, read_rows
from deepfakemnist.tables.schemas import OK

_ENVIRONMENT = Environment(
    loader=PackageLoader("deepfakemnist.report", "templates"), autoescape=True, undefined=StrictUndefined
)
#: Maximum number of rejected and failed items on the ledger page; ledger.parquet holds all.
_MAX_LEDGER_ROWS = 2000


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
    shown = [[row[name] for name in columns] for row in out[:_MAX_LEDGER_ROWS]]
    intro = f"{len(items)} items; {len(items) - len(out)} passed every stage."
    if len(out) > len(shown):
        intro += f" The first {len(shown)} of the {len(out)} others are listed; ledger.parquet holds all."
    write_page(path, "Ledger", intro, [Table("Rejected and failed items", columns, shown)])
