"""Failed rows of finished tables that are worth another try: their jobs run again, and make nothing but these rows.

A finished table is never out of date by itself, so that a video that failed while a vendor was down stays failed after
the vendor is back. The jobs take every other row over from their journals, and vendors' answers from the ledger.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from deepfakemnist.dataset.repair import Repair, pending_repairs
from deepfakemnist.dataset.stored_files import Damage
from deepfakemnist.errors import ConfigError
from deepfakemnist.tables.checksums import DamagedTable
from deepfakemnist.tables.files import column_names, read_rows
from deepfakemnist.tables.reasons import is_passing
from deepfakemnist.tables.schemas import FAILED

#: Where the stages lie whose jobs make rows, below the results. Tables behind them repeat their reasons.
_STAGES = (
    "ingest/*/*",
    "crop/*/*",
    "identify/*",
    "import_released/*/*",
    "gpu/*/*",
    "extract_motion/*",
    "animate/*",
    "judge/*",
    "reenact/*",
    "liveness/*/*",
    "compress/*/*",
    "frames/*/*",
)


class FailedRows(NamedTuple):
    """Number of failed rows of a table with one reason."""

    table: Path
    reason: str
    rows: int
    chosen: bool
    """Whether they are to be tried again."""


def find_failed(
    results: Path, *, reasons: Collection[str] = (), stages: Collection[str] = (), every: bool = False
) -> list[FailedRows]:
    """Return the failed rows of finished tables, by table and reason.

    Args:
        results: folder of a run's results.
        reasons: choose these; none: those that may pass, see :mod:`deepfakemnist.tables.reasons`.
        stages: search only these, each a folder below the results such as ``crop`` or ``liveness/baidu``; none: all.
        every: choose every failed row, whatever its reason.

    Raises: ConfigError when the folder or a stage does not exist.
    """
    if not results.is_dir():
        raise ConfigError(f"{results} is not a folder; give the folder of a run's results, e.g. results")
    for stage in stages:
        if not (results / stage).is_dir():
            raise ConfigError(f"--stage {stage}: {results / stage} is not a folder")
    found = []
    for table in _tables(results):
        if stages and not any((results / stage) in table.parents for stage in stages):
            continue
        try:
            if not {"status", "reason"} <= set(column_names(table)):
                continue
            rows = read_rows(table, ["status", "reason"])
        except (DamagedTable, FileNotFoundError):
            continue  # to be repaired, or being made again
        for reason, count in sorted(Counter(row["reason"] for row in rows if row["status"] == FAILED).items()):
            chosen = every or (reason in reasons if reasons else is_passing(reason))
            found.append(FailedRows(table, reason, count, chosen))
    return found


def retries(results: Path, found: Collection[FailedRows]) -> Repair:
    """Return the tables to be made again, for :func:`.repair.remove_damaged` and :func:`.repair.finish_repair`."""
    chosen = [Damage("failed_rows", one.table, one.reason, one.table) for one in found if one.chosen]
    return Repair(results, chosen, [], pending_repairs(results))


def _tables(results: Path) -> Iterator[Path]:
    for pattern in _STAGES:
        yield from sorted(path for path in results.glob(f"{pattern}.parquet") if path.name[0] != "." and path.is_file())
