"""The one loop that runs a function over the videos of a shard.

A shard's table appears whole or not at all. Until then every finished video stands in a journal beside it, so a job
that was killed goes on after the last finished one; a file lock keeps an orphaned worker and its successor apart.
A bad video never ends the loop: it becomes a row that says why.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from filelock import FileLock, Timeout
from pydantic import BaseModel

from deepfakemnist.errors import Failed, Rejected, TooManyFailures
from deepfakemnist.tables.files import atomic_path, read_metadata, read_rows, write_table
from deepfakemnist.tables.schemas import FAILED, OK, REJECTED, Row

log = logging.getLogger(__name__)

#: A full disk or too many open files is the machine's trouble, not the video's: stop instead of blaming every row.
_MACHINE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EROFS}
#: Below this many rows of a stage a failed fraction says nothing.
_MIN_ROWS_FOR_FRACTION = 20
_PROGRESS_EVERY_S = 10.0


@dataclass
class Tally:
    """How a shard went."""

    ok: int = 0
    rejected: int = 0
    failed: int = 0
    resumed: int = 0

    def add(self, status: str) -> None:
        """Count one row."""
        setattr(self, status, getattr(self, status) + 1)

    def __str__(self) -> str:
        resumed = f" ({self.resumed} videos taken from an earlier run)" if self.resumed else ""
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
    key: str = "video_id",
    blank: Sequence[str] = ("path", "frames", "fps", "pixels_sha256"),
    max_failed_fraction: float = 1.0,
    finish: Callable[[list[Row], Path, dict[str, str]], None] | None = None,
    begin: Callable[[list[Row]], None] | None = None,
    keep_journal: bool = False,
) -> Tally:
    """Apply ``work`` to every row and write what it returns, usually one row each, to ``table``.

    Args:
        rows: what to work on; only rows without a status or with status ok should be passed.
        table: Parquet file to write; its journal and lock stand beside it.
        schema: schema of the table. Columns of the input row that it knows are carried over.
        work: returns the new columns of a row, or a list of them where one video gives several rows; raises
            Rejected or Failed with a reason, or anything else, which becomes ``failed`` with reason ``error``. It must
            write its own files through ``atomic_path``.
        code: digest of the code that does the work; written to a ``code`` column where the schema has one.
        settings: what the work was told; with ``code``, ``inputs`` and the row it decides whether a journal
            entry still holds.
        inputs: digest of anything else the result depends on, e.g. the sha256 of weights.
        key: column that names a row.
        blank: columns of the input row that are not carried over when the row ends rejected or failed, because they
            would speak of the stage before.
        max_failed_fraction: stop when more than this share of the stage's finished rows failed.
        finish: writes the table from rows and file metadata, for stages whose table holds more than those rows.
        begin: is told, before any work, of the rows that ``work`` will be called with.
        keep_journal: leave the journal when the table is written, without what failed. A later job, for which a few
            rows are other ones, then does only these; for tables of many shards.

    Returns: counts of ok, rejected and failed rows, and of rows taken from the journal.

    Raises:
        TooManyFailures: see ``max_failed_fraction``; the journal stays, so nothing finished is lost.
        ValueError: two rows share a key.
    """
    table = Path(table)
    keys = [row[key] for row in rows]
    if len(set(keys)) != len(keys):
        twice = sorted({name for name in keys if keys.count(name) > 1})
        raise ValueError(f"{table}: {key} occurs more than once: {', '.join(map(str, twice[:5]))}")
    table.parent.mkdir(parents=True, exist_ok=True)
    base = _digest([code, settings.model_dump(mode="json") if settings else None, inputs, schema.names])
    fingerprint = _digest([base, rows])

    with _exclusive(table):
        if table.exists() and read_metadata(table).get("fingerprint") == fingerprint:
            log.info("%s was finished by an earlier job in the meantime; nothing left to do", table)
            return _count(read_rows(table, ["status"]))
        journal = Journal(table.with_name(table.name + ".journal"))
        entries = journal.read()
        marks = {row[key]: _digest([base, row]) for row in rows}
        known = {
            name: entry["rows"]
            for name, entry in entries.items()
            if entry["mark"] == marks.get(name) and all(map(_file_exists, entry["rows"]))
        }
        if begin:
            begin([row for row in rows if row[key] not in known])
        tally = Tally()
        done: dict[str, list[Row]] = {}
        results: list[Row] = []
        started = last_report = time.monotonic()
        for number, row in enumerate(rows, start=1):
            if row[key] in known:
                made = known[row[key]]
                tally.resumed += 1
            else:
                made = _work_on(row, schema, work, key, blank)
                if "code" in schema.names:
                    made = [{**one, "code": code} for one in made]
                journal.append(row[key], marks[row[key]], made)
            done[row[key]] = made
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
            journal.keep(name for name, made in done.items() if all(row["status"] != FAILED for row in made))
        else:
            journal.remove()
    log.info("%s: %s in %.1f s", table, tally, time.monotonic() - started)
    return tally


class Journal:
    """One JSON line per finished row, flushed to disk, so that a killed job loses at most the row in work."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, dict[str, Any]]:
        """Return entries by key. A torn last line, left by a kill, is cut off so that the next append is whole."""
        if not self.path.exists():
            return {}
        entries: dict[str, dict[str, Any]] = {}
        whole = 0
        with self.path.open("rb") as file:
            for line in file:
                try:
                    entry = json.loads(line)
                except ValueError:
                    break
                if not line.endswith(b"\n"):
                    break
                entries[entry["key"]] = entry
                whole += len(line)
        with self.path.open("rb+") as file:
            file.truncate(whole)
        return entries

    def append(self, key: str, mark: str, rows: list[Row]) -> None:
        """Add what one finished video gave."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"key": key, "mark": mark, "rows": rows}) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def keep(self, keys: Iterable[str]) -> None:
        """Forget all entries but the last of each of these keys."""
        entries = self.read()
        with atomic_path(self.path) as part:
            part.write_text("".join(json.dumps(entries[key]) + "\n" for key in keys), encoding="utf-8")

    def remove(self) -> None:
        """Forget the journal: the table holds everything now."""
        self.path.unlink(missing_ok=True)


def _work_on(
    row: Row, schema: pa.Schema, work: Callable[[Row], Row | list[Row]], key: str, blank: Sequence[str]
) -> list[Row]:
    carried = {name: row[name] for name in schema.names if name in row}
    try:
        made = work(row)
        status: Row = {"status": OK, "reason": "", "detail": ""}
        return [{**carried, **status, **one} for one in (made if isinstance(made, list) else [made])]
    except Rejected as verdict:
        log.info("%s rejected: %s", row[key], verdict)
        status = {"status": REJECTED, "reason": verdict.reason, "detail": verdict.detail}
    except Failed as failure:
        log.warning("%s failed: %s", row[key], failure)
        status = {"status": FAILED, "reason": failure.reason, "detail": failure.detail}
    except MemoryError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _MACHINE_ERRORS:
            raise
        log.warning("%s failed:\n%s", row[key], traceback.format_exc())
        status = {"status": FAILED, "reason": "error", "detail": f"{type(error).__name__}: {error}"}
    return [{**{name: value for name, value in carried.items() if name not in blank}, **status}]


def _check_failures(table: Path, results: list[Row], key: str, limit: float) -> None:
    """Stop a stage that is going wrong. Shards without failures pay nothing; others look at their finished sisters."""
    failed = [row for row in results if row["status"] == FAILED]
    if not failed:
        return
    total, bad = len(results), len(failed)
    for sister in table.parent.glob("*.parquet"):
        if sister != table:
            states = [row["status"] for row in read_rows(sister, ["status"])]
            total += len(states)
            bad += states.count(FAILED)
    if total >= _MIN_ROWS_FOR_FRACTION and bad / total > limit:
        listing = "\n".join(f"  {row[key]}: {row['reason']}: {row['detail']}" for row in failed[:20])
        raise TooManyFailures(
            f"{bad} of the {total} rows of this stage so far failed, more than max_failed_fraction = {limit} allows. "
            f"In {table}:\n{listing}\nMend the cause, or raise max_failed_fraction; finished videos are kept."
        )


@contextmanager
def _exclusive(table: Path) -> Iterator[None]:
    """Hold the lock of a table; say so when another job holds it, and wait."""
    lock = FileLock(table.with_name(f".{table.name}.lock"))
    try:
        lock.acquire(timeout=1)
    except Timeout:
        log.warning("another job, perhaps left by a killed run, is still writing here; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _report_progress(table: Path, tally: Tally, done: int, total: int, started: float) -> None:
    elapsed = time.monotonic() - started
    per_video = elapsed / max(done - tally.resumed, 1)
    left = (total - done) * per_video
    log.info("%s: %d of %d videos, %s, %.2f/s, about %.0f s left", table, done, total, tally, 1 / per_video, left)


def _file_exists(row: Row) -> bool:
    return not row.get("path") or row["status"] != OK or Path(row["path"]).is_file()


def _count(rows: list[Row]) -> Tally:
    tally = Tally()
    for row in rows:
        tally.add(row["status"])
    return tally


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
