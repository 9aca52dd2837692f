"""Resumable shard loop: one function applied to every video of a shard.

A shard's table is written whole or not at all. A journal next to it records every finished video: a killed job resumes
after the last one, and a job that runs again makes only the videos whose inputs, settings or code have changed. A lock
serialises an orphaned worker and its successor. A bad video never stops the loop: it becomes a row with the reason. An
error of the machine always does: it would become the row of a good video.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pydantic import BaseModel

from deepfakemnist.errors import Failed, Rejected, TooManyFailures
from deepfakemnist.ids import check_video_id
from deepfakemnist.machine_errors import MachineError, machine_error
from deepfakemnist.tables.checksums import DamagedTable
from deepfakemnist.tables.files import read_metadata, read_rows, remove_part_files, write_table
from deepfakemnist.tables.journal import Entry, Journal, entries_elsewhere
from deepfakemnist.tables.kept_results import KeptResults
from deepfakemnist.tables.locks import exclusive
from deepfakemnist.tables.reasons import PASSING
from deepfakemnist.tables.schemas import FAILED, OK, REJECTED, Row

log = logging.getLogger(__name__)

#: Minimum number of rows of a stage for a meaningful failed fraction.
_MIN_ROWS_FOR_FRACTION = 20
_PROGRESS_EVERY_S = 10.0


@dataclass
class Tally:
    """Row counts of a shard by status."""

    ok: int = 0
    rejected: int = 0
    failed: int = 0
    resumed: int = 0

    def add(self, status: str) -> None:
        """Count one row."""
        setattr(self, status, getattr(self, status) + 1)

    def __str__(self) -> str:
        resumed = f" ({self.resumed} videos resumed from an earlier run)" if self.resumed else ""
        return f"{self.ok} ok, {self.rejected} rejected, {self.failed} failed{resumed}"

    @property
    def total(self) -> int:
        """Rows counted so far."""
        return self.ok + self.rejected + self.failed


def run_shard(
    rows: Sequence[Row],
    table: Path | str,
    schema: pa.Schema,
    work: Callable[[Row], Row | list[Row]],
    *,
    code: str,
    settings: BaseModel | None = None,
    inputs: str = "",
    depends_on: Collection[str] | None = None,
    key: str = "video_id",
    blank: Sequence[str] = ("path", "frames", "fps", "bytes", "sha256", "pixels_sha256"),
    max_failed_fraction: float = 1.0,
    finish: Callable[[list[Row], Path, dict[str, str]], None] | None = None,
    begin: Callable[[list[Row]], None] | None = None,
    keep_journal: bool = True,
    keep_table: bool = False,
) -> Tally:
    """Apply ``work`` to every row and write the returned rows, usually one each, to ``table``.

    Args:
        rows: input rows; pass only rows without a status or with status ok.
        table: Parquet file to write; its journal and lock lie next to it.
        schema: schema of the table. Input columns in the schema are copied to the output row.
        work: returns the new columns of a row, or a list of them if a video gives several rows; raises Rejected or
            Failed with a reason, or anything else, which becomes ``failed`` with reason ``error``. It must write its
            own files through ``atomic_path``.
        code: digest of the code behind ``work``; written to a ``code`` column if the schema has one.
        settings: settings of ``work``; with ``code``, ``inputs`` and the row they decide whether a journal entry is
            still valid.
        inputs: digest of anything else the result depends on, e.g. the sha256 of weights.
        depends_on: input columns that decide what ``work`` returns and writes; None: all. A video whose other columns
            alone have changed is not processed again, and its row gets their new values. Name a file by its hash here,
            not by its path.
        key: column that identifies a row.
        blank: input columns that are not copied to a rejected or failed row, because they describe the previous
            stage's file.
        max_failed_fraction: stop when more than this fraction of the stage's finished rows failed.
        finish: writes the table from rows and file metadata, for stages whose table contains more than those rows.
        begin: called once, before any work, with the rows that ``work`` will process.
        keep_journal: keep the journal, without failed rows, once the table is written; false for stages that take no
            longer than reading it.
        keep_table: keep a second name of the table instead, for stages whose result is in the table itself; see
            :mod:`.kept_results`.

    Returns: counts of ok, rejected and failed rows, and of videos resumed from the journal.

    Raises:
        TooManyFailures: see ``max_failed_fraction``; the journal stays, so finished videos are kept.
        MachineError: a full disk, a killed child process or the like; likewise.
        ValueError: two rows share a key, or one cannot be a file name.
    """
    table = Path(table)
    keys = [row[key] for row in rows]
    for name in keys:
        check_video_id(name)
    if len(set(keys)) != len(keys):
        twice = sorted({name for name in keys if keys.count(name) > 1})
        raise ValueError(f"{table}: {key} occurs more than once: {', '.join(map(str, twice[:5]))}")
    base = _digest([code, settings.model_dump(mode="json") if settings else None, inputs, schema.names])
    fingerprint = _digest([base, rows])

    kept = KeptResults([table], fingerprint) if keep_table else None

    with exclusive(table):
        if _fingerprint_of(table) == fingerprint:
            log.info("%s has been completed by another job in the meantime; nothing to do", table)
            return _count(read_rows(table, ["status"]))
        if kept and kept.take_over():
            return _count(read_rows(table, ["status"]))
        remove_part_files(table, table.with_suffix(""))
        journal = Journal.of_table(table)
        marks = {row[key]: _digest([base, _decisive(row, depends_on)]) for row in rows}
        known = _valid(journal.read(), marks)
        known |= _valid(entries_elsewhere(table, marks.keys() - known.keys()), marks)
        # Entries that are no longer valid go before their files are overwritten.
        journal.keep(known[name] for name in keys if name in known)
        if begin:
            begin([row for row in rows if row[key] not in known])
        tally = Tally()
        results: list[Row] = []
        started = last_report = time.monotonic()
        for number, row in enumerate(rows, start=1):
            if row[key] in known:
                tally.resumed += 1
            else:
                known[row[key]] = Entry.of(row[key], marks[row[key]], _process_row(row, work, key, table.parent))
                journal.append(known[row[key]])
            made = [_complete(row, one, schema, blank, code) for one in known[row[key]].made]
            for one in made:
                tally.add(one["status"])
            results.extend(made)
            if time.monotonic() - last_report > _PROGRESS_EVERY_S:
                last_report = time.monotonic()
                _report_progress(table, tally, number, len(rows), started)
        _check_failures(table, results, key, max_failed_fraction)
        metadata = {"fingerprint": fingerprint}
        if finish:
            finish(results, table, metadata)
        else:
            write_table(results, table, schema, metadata)
        if keep_journal:
            journal.keep(entry for entry in known.values() if _may_be_kept(entry))
        else:
            journal.remove()
        if kept:
            kept.keep()
    elapsed, processed = time.monotonic() - started, len(rows) - tally.resumed
    log.info("%s: %s in %.1f s; %d of %d videos processed", table, tally, elapsed, processed, len(rows))
    return tally


def _process_row(row: Row, work: Callable[[Row], Row | list[Row]], key: str, folder: Path) -> list[Row]:
    """Return the status columns and those that ``work`` made."""
    try:
        made = work(row)
        status: Row = {"status": OK, "reason": "", "detail": ""}
        return [{**status, **one} for one in (made if isinstance(made, list) else [made])]
    except Rejected as verdict:
        log.info("%s rejected: %s", row[key], verdict)
        status = {"status": REJECTED, "reason": verdict.reason, "detail": verdict.detail}
    except Failed as failure:
        _stop_for_the_machine(failure, row, key, folder)
        log.warning("%s failed: %s", row[key], failure)
        status = {"status": FAILED, "reason": failure.reason, "detail": failure.detail}
    except Exception as error:
        _stop_for_the_machine(error, row, key, folder)
        log.warning("%s failed:\n%s", row[key], traceback.format_exc())
        status = {"status": FAILED, "reason": "error", "detail": f"{type(error).__name__}: {error}"}
    return [status]


def _stop_for_the_machine(error: Exception, row: Row, key: str, folder: Path) -> None:
    """Raise MachineError for what says nothing about the video."""
    inputs = [value for name, value in row.items() if name.endswith("path") and isinstance(value, str)]
    if (found := machine_error(error, inputs, folder)) is not None:
        raise MachineError(f"stopped at {row[key]}: {found}", found.errno) from error


def _complete(row: Row, made: Row, schema: pa.Schema, blank: Sequence[str], code: str) -> Row:
    """Return a row of the table: the input's columns, what was made of them, and the code that made it."""
    dropped = () if made["status"] == OK else blank
    carried = {name: row[name] for name in schema.names if name in row and name not in dropped}
    return {**carried, **made, **({"code": code} if "code" in schema.names else {})}


def _decisive(row: Row, depends_on: Collection[str] | None) -> Row:
    """Return the columns of an input row that decide the result."""
    return row if depends_on is None else {name: row.get(name) for name in depends_on}


def _valid(entries: Mapping[str, Entry], marks: Mapping[str, str]) -> dict[str, Entry]:
    """Return the entries whose inputs, settings, code and files are unchanged."""
    return {
        name: entry
        for name, entry in entries.items()
        if entry.mark == marks.get(name) and _may_be_kept(entry) and entry.is_whole()
    }


def _may_be_kept(entry: Entry) -> bool:
    """Return whether a video need not be tried again: it did not fail, and no passing reason kept it out."""
    return all(row["status"] != FAILED and row.get("reason") not in PASSING for row in entry.made)


def _check_failures(table: Path, results: list[Row], key: str, limit: float) -> None:
    """Stop a stage with too many failures; only a shard with failures reads the finished shards' tables."""
    failed = [row for row in results if row["status"] == FAILED]
    if not failed:
        return
    total, bad = len(results), len(failed)
    for other in table.parent.glob("*.parquet"):
        if other != table:
            states = _states(other)
            total += len(states)
            bad += states.count(FAILED)
    if total >= _MIN_ROWS_FOR_FRACTION and bad / total > limit:
        listing = "\n".join(f"  {row[key]}: {row['reason']}: {row['detail']}" for row in failed[:20])
        raise TooManyFailures(
            f"{bad} of the {total} rows of this stage so far failed, more than max_failed_fraction = {limit} allows. "
            f"In {table}:\n{listing}\nFix the cause, or raise max_failed_fraction; finished videos are kept."
        )


def _states(table: Path) -> list[str]:
    """Return the status of every row of another shard; none if its table is gone or damaged.

    Snakemake deletes the table of a job before it runs that job again, perhaps at this very moment.
    """
    try:
        return [row["status"] for row in read_rows(table, ["status"])]
    except FileNotFoundError:
        return []
    except (OSError, pa.ArrowException, DamagedTable) as error:
        log.warning("%s cannot be read, so its failed rows are not counted: %s", table, error)
        return []


def _fingerprint_of(table: Path) -> str | None:
    """Return the fingerprint of a finished table; None if there is none or it is damaged."""
    try:
        return read_metadata(table).get("fingerprint")
    except (OSError, pa.ArrowException, DamagedTable):
        return None


def _report_progress(table: Path, tally: Tally, done: int, total: int, started: float) -> None:
    elapsed = time.monotonic() - started
    per_video = elapsed / max(done - tally.resumed, 1)
    left = (total - done) * per_video
    log.info("%s: %d of %d videos, %s, %.2f/s, about %.0f s left", table, done, total, tally, 1 / per_video, left)


def _count(rows: list[Row]) -> Tally:
    tally = Tally()
    for row in rows:
        tally.add(row["status"])
    return tally


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
