"""Repair of a run's results: damaged files are removed, and exactly the jobs that made them run again.

Snakemake runs a job again when its table is gone, and then everything that depends on the table. A repair therefore
names the removed tables as the targets of a run of their own, which does not go beyond them. Where the new table equals
the old one, as its checksum tells, it also gets the old one's time, and nothing that was made from it is out of date.
"""

from __future__ import annotations

import json
import logging
import os
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import Timeout

from deepfakemnist.dataset.stored_files import Damage, inspect_results, recorded_weights
from deepfakemnist.errors import ConfigError
from deepfakemnist.tables.checksums import DamagedTable, file_facts, recorded_checksum, verify_table
from deepfakemnist.tables.files import atomic_path, read_rows
from deepfakemnist.tables.locks import locked

log = logging.getLogger(__name__)

#: Below the results: the tables removed by a repair and not made again yet, with their checksums and times.
_PENDING = "repair.json"


@dataclass
class Repair:
    """What a repair removes, and the tables to be made again."""

    results: Path
    damaged: list[Damage]
    part_files: list[Path]
    pending: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Tables that an earlier repair removed → their checksum and time, null if unknown."""

    @property
    def targets(self) -> list[str]:
        """Tables to be made again, as Snakemake's rules name them."""
        return sorted({str(damage.table) for damage in self.damaged} | set(self.pending))


def find_repairs(results: Path, *, jobs: int = 1, decode: bool = False) -> Repair:
    """Verify everything that a run has stored, see :func:`.stored_files.inspect_results`; change nothing.

    To be called in the working directory of the run. ``results`` is its folder of results as the config names it.

    Raises: ConfigError when the folder does not exist.
    """
    if not results.is_dir():
        raise ConfigError(f"{results} is not a folder; give the folder of a run's results, e.g. results")
    found = inspect_results(results, jobs=jobs, decode=decode)
    return Repair(results, found.damaged, found.part_files, pending_repairs(results))


def pending_repairs(results: Path) -> dict[str, dict[str, Any]]:
    """Return the tables that an earlier repair removed and that have not been made again; see :class:`Repair`."""
    state = results / _PENDING
    return json.loads(state.read_text(encoding="utf-8")) if state.is_file() else {}


def remove_damaged(repair: Repair) -> list[Path]:
    """Remove damaged files, the tables whose jobs make them again, and unfinished files; return what was removed.

    The other files of a job stay, with its journal, from which the job takes them over.

    Raises: ConfigError when a job is writing one of the results; nothing is removed then.
    """
    check_idle(repair.results)
    checksums = _indexed_checksums(repair.results)
    damaged_tables = [damage.path for damage in repair.damaged if damage.path == damage.table]
    weights = recorded_weights(repair.results, damaged_tables)
    checksums |= {str(path): sha256 for path, sha256 in weights.items()}
    tables = {damage.table for damage in repair.damaged}
    # One job writes all tables of the manifest.
    tables |= {
        sibling for table in tables if table.parent.name == "manifest" for sibling in table.parent.glob("[!.]*.parquet")
    }
    for table in filter(Path.is_file, tables):
        name = str(table)
        try:
            checksum = recorded_checksum(table)
        except DamagedTable:
            checksum = None
        repair.pending[name] = {
            "checksum": checksums.get(name, checksum),
            "modified_ns": table.stat().st_mtime_ns,
        }
    # Written first: a repair that is killed here or later goes on from it.
    _write_pending(repair)
    removed = []
    damaged = defaultdict(list)
    for damage in repair.damaged:
        damaged[damage.table].append(damage.path)
    for table, files in sorted(damaged.items()):
        # The table last: without it, nothing would name its damaged files.
        for path in [*(path for path in files if path != table), table]:
            if path.is_file():
                path.unlink()
                removed.append(path)
    for path in repair.part_files:
        path.unlink(missing_ok=True)
        removed.append(path)
    return removed


def finish_repair(repair: Repair) -> tuple[list[str], list[str]]:
    """Give tables that equal the removed ones the old time; return the names of these, and of those that differ.

    Raises: ConfigError when a table has not been made again.
    """
    missing = [name for name in repair.targets if not Path(name).is_file()]
    if missing:
        raise ConfigError(f"{len(missing)} of {len(repair.targets)} tables were not made again, e.g. {missing[0]}")
    same, other = [], []
    for name in repair.targets:
        before = repair.pending.get(name, {})
        if before.get("checksum") and _checksum_of(Path(name)) == before["checksum"]:
            os.utime(name, ns=(before["modified_ns"], before["modified_ns"]))
            same.append(name)
        else:
            other.append(name)
    (repair.results / _PENDING).unlink(missing_ok=True)
    return same, other


def _write_pending(repair: Repair) -> None:
    if repair.pending:
        with atomic_path(repair.results / _PENDING) as part:
            part.write_text(json.dumps(repair.pending, indent=2) + "\n", encoding="utf-8")


def _checksum_of(path: Path) -> str | None:
    """Return the checksum that a table carries, or the sha256 of weights."""
    return verify_table(path) if path.suffix == ".parquet" else file_facts(path).sha256


def _indexed_checksums(results: Path) -> dict[str, str]:
    """Return the checksums of the Parquet files of frames from the manifest's index, for those that lost their end."""
    try:
        rows = read_rows(results / "manifest/frames.parquet", ["shard_path", "shard_checksum"])
    except (FileNotFoundError, ValueError):  # no manifest yet, a damaged one, or one without the column
        return {}
    return {row["shard_path"]: row["shard_checksum"] for row in rows if row["shard_checksum"]}


def check_idle(results: Path) -> None:
    """Raise ConfigError while a job holds the lock of a result, left over from a killed run perhaps."""
    for path in filter(Path.is_file, results.rglob(".*.lock")):
        try:
            with locked(path, wait_s=0):
                pass
        except Timeout:
            table = path.with_name(path.name[1:].removesuffix(".lock"))
            raise ConfigError(
                f"a job is writing {table}: wait until it has ended, or end it, then give the command again"
            ) from None
