"""Report page of the confound audit: what besides the face tells real from fake, without a trained detector."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deepfakemnist.dataset.audit_statement import statements
from deepfakemnist.report.pages import write_page
from deepfakemnist.report.parts import Table
from deepfakemnist.tables.schemas import Row

_INTRO = (
    "container: length, rate, tags, codec and the encoder's note, which the encode chain alone decides. traces: frozen "
    "start, repeated frames, a start equal to the source, padding. Nothing in a picture causes these, so a difference "
    "is a leak. size, start, brightness and pictures follow from what the pictures show; there a difference is stated, "
    "as the baseline that a detector must beat. AUC: of the most telling fact over all videos, and over pairs of "
    "videos of one person; all together: of a random forest, cross-validated with folds disjoint by person. p: "
    "permutation test within people, adjusted for the number of facts, sets and qualities. detectable: the AUC that "
    "would have been found four times in five. Names of files and folders state the class on purpose, and "
    "synthetic-media marks are stored outside the coded pictures; both reach no detector and are left out."
)


def write_audit_page(rows: Sequence[Row], path: Path) -> None:
    """Write the rows of :func:`deepfakemnist.dataset.audit.audit_dataset` as a page; any leaks come first."""
    shown = [
        (
            *(row[name] for name in ("quality", "facts", "verdict", "fact")),
            *(_percent(row[name]) for name in ("auc", "pair_auc", "forest_auc")),
            "–" if row["p"] is None else f"{row['p']:.3f}",
            _percent(row["detectable_auc"]),
            *(row[name] for name in ("videos", "people", "telling")),
        )
        for row in rows
    ]
    columns = (
        "quality", "facts", "verdict", "most telling fact", "AUC %", "in pairs %", "all together %", "p",
        "detectable AUC %", "videos", "people", "best single facts (AUC)",
    )  # fmt: skip
    findings = Table("Findings", ("finding",), [[sentence] for sentence in statements(rows)])
    write_page(path, "Confound audit", _INTRO, [findings, Table("Separability of real and fake", columns, shown)])


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"
