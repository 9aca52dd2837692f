"""Tables of measures between the jobs of an evaluation: rows of a training set, full precision, in one Parquet file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from deepfakemnist.evaluation.calibration import CALIBRATION_COLUMNS, CURVES_COLUMNS
from deepfakemnist.evaluation.groups import GROUPS_COLUMNS
from deepfakemnist.evaluation.measurement import ACTIONS_COLUMNS, METRICS_COLUMNS
from deepfakemnist.evaluation.pairs import PAIRS_COLUMNS
from deepfakemnist.tables.files import read_table, write_table
from deepfakemnist.tables.schemas import Row

UNSCORED_COLUMNS = ("split", "quality", "label", "action", "person_id", "video_id", "runs")
#: Columns of each table; those of pairs but for the adjusted p-values, which need all training sets.
COLUMNS: dict[str, tuple[str, ...]] = {
    "metrics": METRICS_COLUMNS,
    "actions": ACTIONS_COLUMNS,
    "pairs": tuple(name for name in PAIRS_COLUMNS if not name.endswith("_holm")),
    "groups": GROUPS_COLUMNS,
    "unscored": UNSCORED_COLUMNS,
    "calibration": CALIBRATION_COLUMNS,
    "curves": CURVES_COLUMNS,
}
_TEXTS = {
    "detector", "other", "trained_on", "tested_on", "split", "level", "action", "group", "value", "seed", "seeds",
    "generalises_to", "quality", "person_id", "video_id", "curve",
}  # fmt: skip
_WHOLE = {"label", "runs", "n"}


@dataclass
class Measured:
    """Rows by table."""

    metrics: list[Row] = field(default_factory=list)
    actions: list[Row] = field(default_factory=list)
    pairs: list[Row] = field(default_factory=list)
    groups: list[Row] = field(default_factory=list)
    unscored: list[Row] = field(default_factory=list)
    calibration: list[Row] = field(default_factory=list)
    curves: list[Row] = field(default_factory=list)


def _type_of(name: str) -> pa.DataType:
    if name in _TEXTS:
        return pa.string()
    return pa.int64() if name in _WHOLE or name.startswith("n_") else pa.float64()


MEASURED = pa.schema(
    [
        pa.field("table", pa.string(), nullable=False),
        *(
            pa.field(name, _type_of(name))
            for name in dict.fromkeys(name for names in COLUMNS.values() for name in names)
        ),
    ]
)


def write_measured(measured: Measured, path: Path | str) -> None:
    """Write the rows of all tables to a Parquet file; column ``table`` says of which, seeds are text."""
    parts = [MEASURED.empty_table()]
    for table in fields(measured):
        rows = [{"table": table.name, **row} for row in getattr(measured, table.name)]
        for row in rows:
            if "seed" in row:
                row["seed"] = str(row["seed"])
        parts.append(pa.Table.from_pylist(rows, MEASURED))
    write_table(pa.concat_tables(parts), path, MEASURED)


def read_measured(paths: Sequence[Path | str], table: str) -> Iterator[Row]:
    """Yield the rows of one table of several files, with its columns."""
    columns = list(COLUMNS[table])
    for path in paths:
        rows = read_table(path, ["table", *columns])
        yield from rows.filter(pc.equal(rows["table"], table)).select(columns).to_pylist()
