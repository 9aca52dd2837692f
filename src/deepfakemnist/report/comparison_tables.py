"""Tables of the comparisons of detectors: which is better, by how much, and whether chance alone may explain it."""

from __future__ import annotations

from collections.abc import Sequence

from deepfakemnist.report.compact_tables import compact
from deepfakemnist.report.measurement_cells import SIZES, Cells, as_tested
from deepfakemnist.report.parts import Table
from deepfakemnist.report.rounding import TOO_FEW, p_value, signed_with_interval

_METRICS = {"balanced_accuracy": "balanced accuracy", "auc": "AUC"}
#: Of the adjusted p-value: below, a difference is said to be shown.
_SIGNIFICANT = 0.05
_NOTE = (
    "Test split. Differences in points, paired by clip and pooled over seeds, with 95 % intervals; p adjusted by "
    "Holm's method for all comparisons of this metric at the level (unadjusted: pairs.tsv). {said}"
)
_COLUMNS = (
    "higher", "lower", "trained on", "tested on", "level", "difference, points", "p, adjusted", "shown to differ",
    "seeds", "videos", "people", "interval for",
)  # fmt: skip


def comparison_tables(pairs: Sequence[Cells]) -> list[Table]:
    """Return a table per metric with the comparisons on test, the detector with the higher value first.

    Args:
        pairs: rows of pairs.tsv.
    """
    tested = sorted((row for row in pairs if row["split"] == "test"), key=as_tested)
    tables = []
    for name, what in _METRICS.items():
        rows = [_compared(row, name) for row in tested if row[f"{name}_difference"]]
        shown = sum(row[_COLUMNS.index("shown to differ")] == "yes" for row in rows)
        title = f"Which detector is better: {what}"
        if rows and not any(row[f"{name}_p_holm"] for row in tested):
            note = f"None of {len(rows)} comparisons on test has enough people for a p-value; all are in pairs.tsv."
            tables.append(Table(title, _COLUMNS, [], note))
            continue
        said = f"{shown} of {len(rows)} comparisons show a difference (adjusted p below {_SIGNIFICANT})."
        table = Table(title, _COLUMNS, rows, _NOTE.format(said=said) if rows else "")
        tables.append(compact(table, ("level", "seeds", *SIZES)))
    return tables


def _compared(row: Cells, name: str) -> list[str]:
    value = 100 * float(row[f"{name}_difference"])
    names, ends = [row["detector"], row["other"]], [row[f"{name}_low"], row[f"{name}_high"]]
    low, high = (100 * float(end) if end else None for end in ends)
    if value < 0:
        names.reverse()
        value, low, high = -value, None if high is None else -high, None if low is None else -low
    adjusted = row[f"{name}_p_holm"]
    shown = "too few people" if not adjusted else "yes" if float(adjusted) < _SIGNIFICANT else "no"
    return [
        *names, row["trained_on"], row["tested_on"], row["level"],
        signed_with_interval(value, low, high, TOO_FEW if low is None else 1),
        p_value(float(adjusted)) if adjusted else "–", shown,
        row["seeds"].replace(",", ", "), row["n_videos"], row["n_people"], row["generalises_to"],
    ]  # fmt: skip
