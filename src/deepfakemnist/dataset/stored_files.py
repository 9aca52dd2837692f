"""Integrity of everything that a run has stored: each stage's tables and the files they name, by their checksums.

Needs no manifest, so that it also says what is damaged where the manifest itself is, or was never written.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from deepfakemnist.dataset.removed_clips import read_removed
from deepfakemnist.errors import Failed, Rejected
from deepfakemnist.media.decode import read_frames
from deepfakemnist.media.pixels import pixels_sha256
from deepfakemnist.tables.checksums import DamagedTable, file_facts, verify_table
from deepfakemnist.tables.files import PART_FILE, read_rows, read_table
from deepfakemnist.tables.schemas import FAILED, OK, Row

#: Where the tables of a run lie, below its results. Releases and imported datasets have manifests of their own.
_TABLES = (
    "ingest/*/*",
    "candidates/*/*",
    "sources/*",
    "crop/*/*",
    "identify/*",
    "import_released/*/*",
    "extract_motion/*",
    "rounds/*",
    "plan/*",
    "gpu/*/*",
    "animate/*",
    "judge/*",
    "reenact/*",
    "liveness/*/*",
    "select/*",
    "compress/*/*",
    "frames/*/*",
    "manifest/*",
    "audit/facts/*",
    "detectors/*/*/*/*",
    "evaluation/measured/*/*",
)
#: Stages that read working files, and the reasons of rows that failed because such a file was damaged.
_READERS = ("gpu", "extract_motion", "animate", "judge", "reenact", "liveness", "compress", "frames")
_DAMAGED_INPUT = ("input_changed", "motion_changed", "motion_unreadable")
#: Stages whose jobs write the files that their tables name. Where two tables name a file, the first made it: the other
#: is a selection of its rows, or one shard of the job.
_WRITERS = ("candidates", "crop", "gpu", "extract_motion", "animate", "compress")
#: Tables with the column checkpoint_sha256 → the weights that a run trained and made them with.
_TRAINED = {"animate/*": "animator/checkpoint.safetensors", "detectors/*/*/*/predictions": "checkpoint.safetensors"}
_COLUMNS = ("path", "status", "bytes", "sha256", "pixels_sha256")


class Fault(NamedTuple):
    """What is wrong with a file; the kinds are those of :mod:`.check`."""

    kind: str
    detail: str


NO_CHECKSUM = Fault("unchecked", "no checksum was recorded")


class Damage(NamedTuple):
    """A damaged table, or a damaged file behind an intact table."""

    kind: str
    path: Path
    detail: str
    table: Path
    """The table, or the weights, whose job makes it again."""


@dataclass
class Inspection:
    """What was found in the results of a run."""

    damaged: list[Damage] = field(default_factory=list)
    named: set[Path] = field(default_factory=set)
    """Files that an intact table names."""
    tables: int = 0
    files: int = 0
    unchecked: list[Path] = field(default_factory=list)
    """Tables and files of which no checksum was recorded, by version 0.2 or earlier."""
    part_files: list[Path] = field(default_factory=list)
    """Unfinished files of killed jobs; nothing reads them."""


def inspect_results(
    results: Path,
    root: Path = Path(),
    *,
    jobs: int = 1,
    decode: bool = False,
    known: frozenset[Path] = frozenset(),
) -> Inspection:
    """Verify every table below ``results`` and every file that one of them names; each is read once.

    Args:
        results: folder of a run's results.
        root: folder that paths in the tables are relative to, the working directory of the run.
        jobs: files read in parallel.
        decode: decode working clips of which only the pixels' hash was recorded, by version 0.2 or earlier.
        known: tables and files that need no verification.

    Clips that were removed on purpose, see :mod:`.removed_clips`, are no damage.
    """
    found = Inspection()
    removed = {root / clip.path for clip in read_removed(results, root)}
    tables = [path for path in _tables(results) if path not in known]
    with ThreadPoolExecutor(jobs) as pool:
        for path, outcome in zip(tables, pool.map(_verify, tables), strict=True):
            if isinstance(outcome, str):
                found.damaged.append(Damage("damaged_table", path, outcome, path))
            elif not outcome:
                found.unchecked.append(path)
        found.tables = len(tables)
        damaged = {damage.path for damage in found.damaged}
        for table in (table for stage in _READERS for table in _tables(results, stage) if table not in damaged):
            try:
                failed = [row for row in read_rows(table, ["status", "reason"]) if row["status"] == FAILED]
            except DamagedTable:  # one of ``known``, which the caller has verified and reported
                continue
            if count := sum(row["reason"] in _DAMAGED_INPUT for row in failed):
                what = f"{count} rows failed because a file of an earlier stage was damaged or replaced"
                found.damaged.append(Damage("damaged_input", table, what, table))
        for weights, expected in recorded_weights(results, damaged).items():
            if weights not in known and (fault := content_fault(weights, expected)) is not None:
                found.damaged.append(Damage(fault.kind, weights, fault.detail, weights))
        owners: dict[Path, tuple[Path, Row]] = {}
        for stage in _WRITERS:
            for table in _tables(results, stage):
                for row in () if table in damaged else _rows(table):
                    owners.setdefault(root / row["path"], (table, row))
        found.named = set(owners)
        check = partial(_check_file, decode=decode)
        wanted = [(path, *owner) for path, owner in owners.items() if path not in known and path not in removed]
        for (path, table, _), fault in zip(wanted, pool.map(check, wanted), strict=True):
            if fault is NO_CHECKSUM:
                found.unchecked.append(path)
            elif fault is not None:
                found.damaged.append(Damage(fault.kind, path, fault.detail, table))
        found.files = len(wanted)
    found.part_files = sorted(path for path in results.rglob(".*.part.*") if PART_FILE.fullmatch(path.name))
    return found


def recorded_weights(results: Path, damaged: Collection[Path] = ()) -> dict[Path, str]:
    """Return weights that the run trained → their sha256 in a table that was made with them.

    Args:
        results: folder of a run's results.
        damaged: tables not to read.

    Weights newer than the table were trained after it, which the next run makes again.
    """
    recorded: dict[Path, str] = {}
    for pattern, name in _TRAINED.items():
        for table in sorted(set(results.glob(f"{pattern}.parquet")) - set(damaged)):
            weights = (results if "/" in name else table.parent) / name
            if not weights.is_file() or weights.stat().st_mtime_ns > table.stat().st_mtime_ns:
                continue
            hashes = {row["checkpoint_sha256"] for row in read_rows(table, ["checkpoint_sha256"])} - {None, ""}
            if len(hashes) == 1:
                recorded[weights] = hashes.pop()
    return recorded


def _tables(results: Path, stage: str = "") -> Iterator[Path]:
    """Yield the tables of a stage, or of all, in order."""
    for pattern in _TABLES:
        if pattern.startswith(stage):
            yield from sorted(p for p in results.glob(f"{pattern}.parquet") if p.name[0] != "." and p.is_file())


def _verify(table: Path) -> str | bool:
    """Return whether a table carries a checksum, or what is wrong with it."""
    try:
        return verify_table(table) is not None
    except DamagedTable as error:
        return error.what


def _rows(table: Path) -> list[Row]:
    """Return path and checksums of the rows that name a file."""
    stored = read_table(table)
    rows = stored.select([name for name in _COLUMNS if name in stored.column_names]).to_pylist()
    return [row for row in rows if row.get("path") and row["status"] == OK]


def _check_file(item: tuple[Path, Path, Row], decode: bool) -> Fault | None:
    path, _, row = item
    if (fault := size_fault(path, row.get("bytes"))) is not None:
        return fault
    if expected := row.get("sha256"):
        return content_fault(path, expected)
    if not decode or not row.get("pixels_sha256"):
        return NO_CHECKSUM
    try:
        same = pixels_sha256(read_frames(path)) == row["pixels_sha256"]
    except (Failed, Rejected) as error:
        return Fault("other_pixels", f"does not decode: {error}")
    return None if same else Fault("other_pixels", "decodes to other pixels than its row says")


def size_fault(path: Path, expected: int | None) -> Fault | None:
    """Return what is wrong with a file that is missing or not of the expected size in bytes; None otherwise."""
    if not path.is_file():
        return Fault("missing", "is missing")
    size = path.stat().st_size
    if expected is None or size == expected:
        return None
    return Fault("truncated" if size < expected else "changed", f"has {size} bytes, its row says {expected}")


def content_fault(path: Path, expected: str) -> Fault | None:
    """Return what is wrong with a file that does not have the expected sha256; None otherwise."""
    found = file_facts(path).sha256
    if found == expected:
        return None
    return Fault("changed", f"has sha256 {found[:12]}…, its row says {expected[:12]}…")
