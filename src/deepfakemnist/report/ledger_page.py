"""Report page with every rejected and failed item, and what its reason means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from deepfakemnist.report.pages import write_page
from deepfakemnist.report.parts import Lead, Table
from deepfakemnist.report.reason_texts import what_happened, what_to_do
from deepfakemnist.report.units import counted
from deepfakemnist.tables.files import read_rows
from deepfakemnist.tables.schemas import FAILED, OK

_COLUMNS = ("kind", "video_id", "action", "stage", "status", "reason", "detail")
_TITLES = ("kind", "video", "action", "stage", "status", "reason", "detail")


def write_ledger_page(ledger: Path, path: Path, notices: Sequence[str] = ()) -> None:
    """Count and list every rejected or failed item with its stage, reason and detail.

    Args:
        ledger: ledger.parquet of the manifest.
        path: HTML file to write.
        notices: see :func:`deepfakemnist.report.pages.write_page`.
    """
    items = read_rows(ledger, _COLUMNS)
    out = [row for row in items if row["status"] != OK]
    failed = sum(row["status"] == FAILED for row in out)
    lead = Lead(
        f"{counted(len(items), 'item')}: {len(items) - len(out):,} passed every stage, {len(out) - failed:,} rejected, "
        f"{failed:,} failed.",
        "Rejected: measured and found unsuitable, as intended. Failed: could not be processed.",
        "A rejected item is no error, and a run without failures is no proof of a good dataset.",
    )
    counts = Counter((row["kind"], row["stage"], row["status"], row["reason"]) for row in out)
    reasons = [
        (count, kind, f"{stage}: {reason}", status, what_happened(reason), what_to_do(reason))
        for (kind, stage, status, reason), count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]
    tables = [
        Table("Reasons", ("items", "kind", "stage: reason", "status", "what happened", "what to do"), reasons),
        Table("Rejected and failed items", _TITLES, [[row[name] for name in _COLUMNS] for row in out], file="ledger"),
    ]
    write_page(path, "Ledger", lead, tables, notices)
