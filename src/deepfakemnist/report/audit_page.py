"""Report page of the confound audit: AUC of metadata and simple image statistics, without a trained detector."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deepfakemnist.report.pages import Table, write_page
from deepfakemnist.tables.schemas import Row

_INTRO = (
    "Random forests without learned features, cross-validated with folds disjoint by person; 95 % intervals bootstrap "
    "over people. container: length, rate, tags, codec and the encoder's note, all fixed by the encode chain, so the "
    "AUC must be at 50 %. size: packet sizes, which follow from image content. brightness: mean pixel value only. "
    "pictures: sharpness, colour and frequency-band statistics of four frames; a detector worth its training does "
    "better. Synthetic-media marks are left out: they are stored outside the coded pictures and reach no detector."
)


def write_audit_page(rows: Sequence[Row], path: Path) -> None:
    """Write the rows of :func:`deepfakemnist.dataset.audit.audit_dataset` as a page; any leaks come first."""
    leaks = [f"{row['facts']} at {row['quality']}" for row in rows if row["verdict"] == "leak"]
    warning = f"LEAK: the classes are separable by {', '.join(leaks)}. " if leaks else ""
    shown = [
        (
            row["quality"],
            row["facts"],
            *(_percent(row[name]) for name in ("auc", "auc_low", "auc_high")),
            *(row[name] for name in ("verdict", "videos", "people", "telling")),
        )
        for row in rows
    ]
    columns = ("quality", "facts", "AUC %", "low", "high", "verdict", "videos", "people", "best single facts (AUC)")
    write_page(path, "Confound audit", warning + _INTRO, [Table("Separability of real and fake", columns, shown)])


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"
