"""Content of a run plan in pieces, made from config and sheets once and kept on disk for the jobs.

Every job parses the workflow again. With the plan in a file, it reads the pieces of its shard and not the sheets nor
the other shards, however many sources there are.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import deepfakemnist.config as config_package
from deepfakemnist.code_digest import code_digest
from deepfakemnist.config.base import SPLITS
from deepfakemnist.config.load import Config
from deepfakemnist.errors import ConfigError
from deepfakemnist.machine_errors import MachineError
from deepfakemnist.planning.assignment import split_drivers, split_people
from deepfakemnist.planning.dealing import Plans
from deepfakemnist.sources.exclusions import without_excluded
from deepfakemnist.sources.read import read_sources
from deepfakemnist.sources.released import read_released
from deepfakemnist.sources.sheets import Sheet, read_drivers
from deepfakemnist.sources.video_files import count_left_aside
from deepfakemnist.tables.file_versions import sha256_of
from deepfakemnist.tables.files import atomic_path
from deepfakemnist.workflow.fake_round import FakeRound, by_own_number, by_source_shard
from deepfakemnist.workflow.params import described
from deepfakemnist.workflow.sharding import ShardOfHash, split_into_shards
from deepfakemnist.workflow.source_overview import describe_sources, wanted_splits

#: Columns of a sheet for the manifest alone: an edit must not re-run a stage.
_CAPTIONS = ("licence",)
#: Plans kept per folder: that of the run, and those of dry runs with other settings meanwhile.
_KEPT = 4
_PREFIX, _SUFFIX = "plan-", ".sqlite"


class Pieces(Protocol):
    """Pieces of a plan by name; values are plain, as from JSON."""

    def __getitem__(self, name: str, /) -> Any: ...


def make_pieces(config: Config) -> dict[str, Any]:
    """Read the sheets and plan the run.

    Returns:
        ``shards``: role → shard → number of videos; ``rows ROLE SHARD``: sheet rows of a shard without captions;
        ``first_round``: fake shard → number of candidates and source shards; ``candidates SHARD``: fields of each
        ``Assignment``; ``rows text …`` and ``candidates text …``: both as texts for params; ``sources``
        and ``drivers``: (video, person) and (video, action, person); ``split_of``: video → split; ``people``: person →
        split; ``driver_splits``: person → split, or None; ``captions``, ``refused``, ``left_aside``, ``overview``.

    Raises: ConfigError for what the sheets lack.
    """
    sheets = _read_sheets(config)
    sources, drivers = sheets["source"].rows, sheets["driver"].rows
    shards = {
        role: split_into_shards([(row["video_id"], row) for row in sheet.rows], config.shard_size)
        for role, sheet in sheets.items()
    }
    pieces: dict[str, Any] = {
        "shards": {role: {shard: len(rows) for shard, rows in parts.items()} for role, parts in shards.items()},
        "sources": [(row["video_id"], row["person_id"]) for row in sources],
        "drivers": [(row["video_id"], row["action"], row["person_id"]) for row in drivers],
        "captions": [
            {"source_id": row["video_id"], "person_id": row["person_id"], "licence": row.get("licence")}
            for row in sorted(sources, key=lambda row: str(row["video_id"]))
        ],
        "refused": [row for sheet in sheets.values() for row in sheet.refused],
        "left_aside": count_left_aside(sheets["source"].left_aside),
        "people": {}, "driver_splits": None, "first_round": {},
    }  # fmt: skip
    for role, parts in shards.items():
        for shard, rows in parts.items():
            own = [{name: row[name] for name in row if name not in _CAPTIONS} for row in rows]
            pieces |= {f"rows {role} {shard}": own, f"rows text {role} {shard}": described("rows", own)}
    if config.sources.released is not None:
        pieces["split_of"] = {row["video_id"]: row["split"] for row in sources}
    else:
        pieces |= _planned(config, sheets, ShardOfHash(shards["source"], config.shard_size))
    pieces["overview"] = describe_sources(config, sheets["source"], pieces["split_of"])
    return pieces


def stored_pieces(config: Config, folder: Path) -> tuple[Pieces, str]:
    """Return the pieces of a plan and the name of their file; from the file if sheets, settings and code are the same.

    Args:
        config: the config.
        folder: where plans are kept. If it cannot be written, the pieces stay in memory, and the name is empty.
    """
    # Folders are searched again: nothing else tells whether they have changed.
    key = _digest_of_inputs(config) if config.sources.sheet is not None else None
    if key is not None and (known := open_pieces(folder, key)):
        return known, key
    pieces = make_pieces(config)
    key = key or _sha256(json.dumps(pieces, sort_keys=True))
    try:
        _write(pieces, folder, key)
    except (OSError, MachineError, sqlite3.Error):
        return pieces, ""
    return pieces, key


def open_pieces(folder: Path, key: str) -> Pieces | None:
    """Return the pieces of a kept plan; None if there is none, or its file is damaged."""
    try:
        return _Stored(folder / plan_file(key))
    except sqlite3.Error:
        return None


def plan_file(key: str) -> str:
    """Return the name of the file of a plan."""
    return f"{_PREFIX}{key}{_SUFFIX}"


class _Stored:
    """Pieces in a file, read one by one."""

    def __init__(self, path: Path) -> None:
        # Immutable: no locks, which not every network file system has. Such a file is replaced and never changed.
        address = f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1"
        self._connection = sqlite3.connect(address, uri=True, check_same_thread=False)
        self["shards"]

    def __getitem__(self, name: str, /) -> Any:
        found = self._connection.execute("SELECT value FROM pieces WHERE name = ?", (name,)).fetchone()
        if found is None:
            raise sqlite3.DatabaseError(f"no piece {name}")
        return json.loads(found[0])


def _write(pieces: Mapping[str, Any], folder: Path, key: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    # Not flushed to the disk: a plan that is lost is made again.
    path = folder / plan_file(key)
    with atomic_path(path, flush=False) as part, closing(sqlite3.connect(part)) as connection:
        # Until it is renamed, nobody reads the file.
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("CREATE TABLE pieces (name TEXT PRIMARY KEY, value TEXT)")
        values = ((name, json.dumps(value)) for name, value in pieces.items())
        connection.executemany("INSERT INTO pieces VALUES (?, ?)", values)
        connection.commit()
    kept = sorted(folder.glob(f"{_PREFIX}*{_SUFFIX}"), key=lambda one: one.stat().st_mtime_ns)
    for old in kept[:-_KEPT]:
        old.unlink(missing_ok=True)


def _read_sheets(config: Config) -> dict[str, Sheet]:
    if config.sources.released is not None:
        clips = read_released(config.sources)
        return {"source": clips["real"], "driver": Sheet(), "fake": clips["fake"]}
    sheets = {"source": read_sources(config.sources, config.seed), "driver": read_drivers(config.drivers.sheet)}
    if config.sources.exclude:
        sheets["driver"] = without_excluded(sheets["driver"], config.sources.exclude, "driver")
    return sheets


def _planned(config: Config, sheets: Mapping[str, Sheet], shard_of: ShardOfHash) -> dict[str, Any]:
    """Return the pieces that follow from the sheets: splits and first candidates."""
    sources, drivers = sheets["source"].rows, sheets["driver"].rows
    plan, seed = config.plan, config.seed
    _check_actions(config, sheets["driver"])
    driver_splits = split_drivers(sources, drivers, plan, seed)
    _check_driver_splits(config, sheets["driver"], driver_splits)
    people = split_people([row["person_id"] for row in sources], plan, seed)
    plans, suffixes = Plans(sources, drivers, config.animators, plan, seed), config.animator_suffixes
    if plan.max_rounds > 1:
        by_shard = by_own_number(plans.draw(), config.shard_size, suffixes)
    else:
        by_shard = by_source_shard([one for part in plans.assign().values() for one in part], shard_of, suffixes)
    fields = {shard: [list(vars(one).values()) for one in part] for shard, part in by_shard.items()}
    return {
        "people": people,
        "split_of": {row["video_id"]: people[row["person_id"]] for row in sources},
        "driver_splits": driver_splits,
        "first_round": FakeRound.of(by_shard, shard_of).parts,
        **{f"candidates {shard}": part for shard, part in fields.items()},
        **{f"candidates text {shard}": described("candidates", part) for shard, part in fields.items()},
    }


def _check_actions(config: Config, drivers: Sheet) -> None:
    have = {row["action"] for row in drivers.rows}
    lacking = [action for action in config.plan.actions if action not in have]
    if lacking:
        raise ConfigError(
            f"plan.actions lists {lacking}, but {config.drivers.sheet} has no driver for them; it has {sorted(have)}"
        )


def _check_driver_splits(config: Config, drivers: Sheet, split_of: Mapping[str, str] | None) -> None:
    """Raise ConfigError when drivers are dealt to the splits and an action is left without any in one of them."""
    if split_of is None:
        return
    have = {(row["action"], split_of[row["person_id"]]) for row in drivers.rows}
    lacking = [
        f"{action} in {split}"
        for action in config.plan.actions
        for split in wanted_splits(config)
        if (action, split) not in have
    ]
    if lacking:
        counts = Counter(split_of.values())
        dealt = ", ".join(f"{counts[split]} in {split}" for split in SPLITS)
        raise ConfigError(
            f"plan.drivers is disjoint, but {config.drivers.sheet} has no driver for {', '.join(lacking)}; "
            f"its people are dealt to the splits, {dealt}. Add people who perform these actions, or set "
            "plan.drivers: shared"
        )


def settings_digest(config: Config) -> str:
    """Return a digest of the settings that the pieces follow from."""
    settings = config.model_dump(mode="json", include={"sources", "drivers", "plan", "seed", "shard_size"})
    animators = [(one.named, one.share, one.quota) for one in config.animators]
    return _sha256(json.dumps([settings, animators], sort_keys=True))


def _digest_of_inputs(config: Config) -> str:
    """Return a digest of all that the pieces follow from, for sources that a sheet lists."""
    files = (config.sources.sheet, config.drivers.sheet, config.sources.exclude)
    return _sha256(
        json.dumps(
            [
                settings_digest(config),
                [sha256_of(path) for path in files if path is not None],
                code_digest("workflow.plan_pieces"),
                # Code digests leave the settings out, and some of these read the sheets.
                [sha256_of(path) for path in sorted(Path(config_package.__file__).parent.rglob("*.py"))],
            ],
            sort_keys=True,
        )
    )


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
