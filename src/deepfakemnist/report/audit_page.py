"""The audit's page for the report: what tells the classes apart beside a trained detector."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deepfakemnist.report.pages import Table, write_page
from deepfakemnist.tables.schemas import Row

_INTRO = (
    "Random forests that never see a trained feature, judged on people they were not trained on; intervals come from "
    "resampling people. container: length, rate, tags, codec, the encoder's note; what the chain decides, so it must "
    "stand at 50 %. size: bytes of the coded pictures, which follow from the pictures. brightness: the mean alone. "
    "pictures: sharpness, colours and frequency bands of four frames; a detector worth its training does better. Marks "
    "of synthetic media are left out: they lie beside the coded pictures and reach no detector."
)


def write_audit_page(rows: Sequence[Row], path: Path) -> None:
    """Write the rows of :func:`deepfakemnist.dataset.audit.audit_dataset` as a page; leaks are named first."""
    leaks = [f"{row['facts']} at {row['quality']}" for row in rows if row["verdict"] == "leak"]
    warning = f"LEAK: the classes can be told apart by {', '.join(leaks)}. " if leaks else ""
    shown = [
        (
            *(row[name] for name in ("quality", "facts")),
            *(_percent(row[name]) for name in ("auc", "auc_low", "auc_high")),
            *(row[name] for name in ("verdict", "videos", "people", "telling")),
        )
        for row in rows
    ]
    columns = ("quality", "facts", "AUC %", "from", "to", "verdict", "videos", "people", "most telling alone (AUC)")
    write_page(path, "Confound audit", warning + _INTRO, [Table("What tells real from fake", columns, shown)])


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"
