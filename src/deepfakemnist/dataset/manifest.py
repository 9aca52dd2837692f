"""Dataset manifest: the tables of all stages joined, and checked against the files on disk."""

from __future__ import annotations

import json
import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepfakemnist.config.stages import PlanSettings
from deepfakemnist.dataset.check import TOLERATED, Problem, check_rows, check_sizes
from deepfakemnist.dataset.pairs import pair_rows
from deepfakemnist.dataset.people import people_are_known
from deepfakemnist.dataset.splits import add_splits
from deepfakemnist.dataset.uniformity import MIXED, mixed_tables
from deepfakemnist.errors import TooManyFailures
from deepfakemnist.planning.rounds import apply_quota
from deepfakemnist.tables.checksums import recorded_checksum
from deepfakemnist.tables.columns import SOURCE_FRAME
from deepfakemnist.tables.dataset_schemas import (
    ENCODED_FRAME_INDEX,
    FRAME_INDEX,
    LEDGER,
    PAIRS,
    PUBLISHED_SPLIT,
    VIDEOS,
)
from deepfakemnist.tables.files import atomic_path, read_rows, read_table, write_table
from deepfakemnist.tables.schemas import COMPRESSED, FAILED, FRAMES, OK, REJECTED, Row

log = logging.getLogger(__name__)

_PAIR_COLUMNS = ("split", "action", "person_id", "source_id", "driver_id", "driver_person_id")
_ANIMATOR_COLUMNS = (
    "animator",
    "animator_licence",
    "motion_mode",
    "adapt_scale",
    "start_frame",
    "mouth_from",
    "align_corners",
    "precision",
    "rendered_size",
    "framing",
    "reproducible_pixels",
    "checkpoint_sha256",
    *SOURCE_FRAME.names,
)
#: What is read of COMPRESSED; of some of the texts, thousands of rows have one value.
_ENCODED_COLUMNS = [name for name in COMPRESSED.names if name in (*VIDEOS.names, "status", "reason", "detail")]
_REPEATED = ("encoder", "encoder_version", "ffmpeg_argv", "ffmpeg_version", "animator_licence", *_PAIR_COLUMNS)
#: How an imported fake was made is unknown.
_UNKNOWN_ANIMATOR = {**dict.fromkeys(_ANIMATOR_COLUMNS), "animator": ""}


@dataclass
class StageTables:
    """Paths of the shard tables of every stage."""

    ingest: dict[str, list[Path]]
    crop: dict[str, list[Path]]
    extract_motion: list[Path]
    plan: list[Path]
    animate: list[Path]
    select: list[Path]
    compress: dict[str, list[Path]]
    frames: dict[str, list[Path]]
    #: Clips imported from a published tree, real and fake; the tables of the earlier stages are then empty.
    import_released: dict[str, list[Path]] = field(default_factory=dict)

    def deciding_pixels(self) -> dict[str, list[Path]]:
        """Return the tables of the stages that decide pixels."""
        return {
            "crop": [path for paths in self.crop.values() for path in paths],
            "extract_motion": self.extract_motion,
            "animate": self.animate,
            "import_released": [path for paths in self.import_released.values() for path in paths],
            "compress": [path for paths in self.compress.values() for path in paths],
        }


@dataclass
class Manifest:
    """The tables of a manifest, in memory."""

    videos: list[Row] = field(default_factory=list)
    frames: pa.Table = field(default_factory=ENCODED_FRAME_INDEX.empty_table)
    pairs: list[Row] = field(default_factory=list)
    ledger: list[Row] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)


class ManifestError(RuntimeError):
    """The tables are inconsistent with each other or with the files on disk."""


def write_manifest(
    tables: StageTables,
    out: Path,
    *,
    split_of: dict[str, str],
    refused: Sequence[Row],
    qualities: Sequence[str],
    quota: int | Mapping[str, int] | None,
    max_failed_fraction: float,
    reals: str = "all",
    plan: PlanSettings | None = None,
    seed: int = 0,
    folds: int = 5,
) -> Manifest:
    """Join a run's tables; write videos, frames, pairs and ledger (Parquet) and summary.json to ``out``.

    Args:
        tables: the shard tables.
        out: folder of the manifest.
        split_of: split of every source video.
        refused: ledger rows of refused sheet lines.
        qualities: names of the qualities, in the config's order.
        quota: fakes kept per animator and action, see ``apply_quota``; the surplus is recorded as ``over_quota``.
        max_failed_fraction: fraction of all items that may fail.
        reals: ``all``, or ``of_fakes``: sources without a kept fake are left out and recorded as ``no_fake_kept``.
        plan: fractions of the splits, for the alternative splits; None: the defaults.
        seed: the run's seed.
        folds: number of folds in the column ``fold``.

    Raises:
        ManifestError: a file is missing or its size differs from its row, a person is in two splits, or results of
            different settings are mixed.
        TooManyFailures: more than the allowed fraction failed.
    """
    plan = plan or PlanSettings()
    outcomes = _Outcomes(refused)
    for role in ("source", "driver"):
        outcomes.follow(role, "ingest", read_rows(tables.ingest[role]))
        outcomes.follow(role, "crop", read_rows(tables.crop[role]))
    outcomes.follow("driver", "extract_motion", read_rows(tables.extract_motion))
    planned = read_rows(tables.plan)
    outcomes.follow("fake", "plan", planned)
    rounds = {row["video_id"]: row["round"] for row in planned}
    animated = read_rows(tables.animate)
    outcomes.follow("fake", "animate", animated)
    selected = apply_quota(read_rows(tables.select), quota)
    outcomes.follow("fake", "select", selected)
    released = {kind: read_rows(tables.import_released.get(kind, ())) for kind in ("real", "fake")}
    for kind, role in (("real", "source"), ("fake", "fake")):
        outcomes.follow(role, "import_released", released[kind])

    manifest = Manifest()
    crops = {row["video_id"]: row for row in (*read_rows(tables.crop["source"]), *released["real"])}
    facts = {row["video_id"]: row for row in (*animated, *({**_UNKNOWN_ANIMATOR, **row} for row in released["fake"]))}
    chosen = {row["video_id"]: row for row in (*selected, *released["fake"]) if row["status"] == OK}
    animated_sources = {row["source_id"] for row in chosen.values()}
    texts: dict[str, str] = {}
    for kind, role in (("real", "source"), ("fake", "fake")):
        for path in tables.compress[kind]:
            encoded = read_rows(path, _ENCODED_COLUMNS)
            if kind == "fake":
                encoded = [row for row in encoded if row["video_id"] in chosen]
            outcomes.follow(role, "compress", encoded)
            if kind == "real" and reals == "of_fakes":
                encoded, unused = _keep_animated(encoded, animated_sources)
                outcomes.follow(role, "select", unused)
            for row in encoded:
                if row["status"] != OK:
                    continue
                if kind == "real":
                    video = _real_row(row, crops[row["video_id"]], split_of)
                else:
                    video = _fake_row(row, chosen[row["video_id"]], facts[row["video_id"]])
                    video["round"] = rounds.get(row["video_id"])
                # A text that most rows hold, such as the encoder's arguments, is held once.
                video |= {name: texts.setdefault(video[name], video[name]) for name in _REPEATED if video.get(name)}
                manifest.videos.append(video)
    order = {name: rank for rank, name in enumerate(qualities)}
    manifest.videos.sort(key=lambda row: (row["label"], row["video_id"], order[row["quality"]]))

    splits = pa.table(
        {name: pa.array([row[name] for row in manifest.videos], pa.string()) for name in ("video_id", "split")}
    )
    indexed = []
    for kind, role in (("real", "source"), ("fake", "fake")):
        for path in tables.frames[kind]:
            index, items = _index_frames(path, splits)
            outcomes.follow(role, "frames", items)
            indexed.append(index)
    manifest.frames = pa.concat_tables([manifest.frames, *indexed])
    manifest.ledger = outcomes.rows()

    add_splits(manifest.videos, plan, seed, folds)
    manifest.pairs = pair_rows(manifest.videos)
    # The authors' split of a published tree is kept even where it leaks people between splits; that is logged.
    tolerated = (*TOLERATED, "split_leak") if tables.import_released else TOLERATED
    problems = [Problem(MIXED, *found) for found in mixed_tables(tables.deciding_pixels())]
    problems += check_sizes(manifest.videos, manifest.frames)
    for problem in check_rows(manifest.videos, manifest.frames):
        if problem.kind not in tolerated:
            problems.append(problem)
        elif problem.kind == "split_leak":
            log.warning("the published split is kept, although %s", problem)
    if problems:
        raise ManifestError("the manifest is inconsistent:\n  " + "\n  ".join(map(str, problems[:20])))
    failed = sum(row["status"] == FAILED for row in manifest.ledger)
    if failed > max_failed_fraction * max(len(manifest.ledger), 1):
        listing = [
            f"{r['video_id']} ({r['stage']}): {r['reason']}: {r['detail']}"
            for r in manifest.ledger
            if r["status"] == FAILED
        ]
        raise TooManyFailures(
            f"{failed} of {len(manifest.ledger)} items failed, more than max_failed_fraction = {max_failed_fraction} "
            "allows:\n  " + "\n  ".join(listing[:20])
        )
    manifest.summary = summarise(manifest, qualities, published=bool(tables.import_released))
    write_table(manifest.frames, out / "frames.parquet", FRAME_INDEX)
    write_table(manifest.pairs, out / "pairs.parquet", PAIRS)
    write_table(manifest.ledger, out / "ledger.parquet", LEDGER)
    with atomic_path(out / "summary.json") as part:
        part.write_text(json.dumps(manifest.summary, indent=2) + "\n", encoding="utf-8")
    write_table(manifest.videos, out / "videos.parquet", VIDEOS, PUBLISHED_SPLIT if tables.import_released else None)
    return manifest


def summarise(manifest: Manifest, qualities: Sequence[str], published: bool = False) -> dict[str, Any]:
    """Return the counts shown in the report: by outcome, action, split and quality; people are None if not known."""
    first = qualities[0]
    known = people_are_known(manifest.videos, published)
    videos = [row for row in manifest.videos if row["quality"] == first]
    actions: dict[str, Counter[str]] = defaultdict(Counter)
    for row in manifest.ledger:
        if row["kind"] == "fake":
            actions[row["action"]][row["status"]] += 1
    return {
        "outcomes": {
            kind: dict(Counter(row["status"] for row in manifest.ledger if row["kind"] == kind))
            for kind in ("source", "driver", "fake")
        },
        "reasons": {
            f"{kind} · {stage} · {reason}": count
            for (kind, stage, reason), count in sorted(
                Counter((r["kind"], r["stage"], r["reason"]) for r in manifest.ledger if r["status"] != OK).items()
            )
        },
        "actions": {action: dict(counts) for action, counts in sorted(actions.items())},
        "splits": {
            split: {
                "real": sum(row["label"] == 0 and row["split"] == split for row in videos),
                "fake": sum(row["label"] == 1 and row["split"] == split for row in videos),
                "people": len({row["person_id"] for row in videos if row["split"] == split}) if known else None,
            }
            for split in ("train", "val", "test")
        },
        "bytes": {q: sum(row["bytes"] for row in manifest.videos if row["quality"] == q) for q in qualities},
        "frames": manifest.frames.num_rows,
    }


class _Outcomes:
    """Last stage and status of every item of the run."""

    def __init__(self, refused: Sequence[Row]) -> None:
        self._rows: dict[tuple[str, str], Row] = {(row["kind"], row["video_id"]): dict(row) for row in refused}

    def follow(self, kind: str, stage: str, rows: Sequence[Row]) -> None:
        for row in rows:
            key = (kind, row["video_id"])
            known = self._rows.get(key)
            if known and known["stage"] == stage and known["status"] != OK:
                continue  # an item has several rows (qualities, frames): its first problem counts
            self._rows[key] = {
                "kind": kind,
                "video_id": row["video_id"],
                "person_id": row.get("person_id") or (known or {}).get("person_id", ""),
                "action": row.get("action") or (known or {}).get("action", ""),
                "stage": stage,
                "status": row["status"],
                "reason": row["reason"],
                "detail": row["detail"],
            }

    def rows(self) -> list[Row]:
        return sorted(self._rows.values(), key=lambda row: (row["kind"], row["video_id"]))


def _keep_animated(encoded: Sequence[Row], animated: set[str]) -> tuple[list[Row], list[Row]]:
    """Return the rows of reals with a kept fake, and those of the others that encoded well, as ``no_fake_kept``."""
    detail = "none of its fakes was accepted within the quota, and plan.reals is of_fakes"
    status = {"status": REJECTED, "reason": "no_fake_kept", "detail": detail}
    not_ok = {row["video_id"] for row in encoded if row["status"] != OK}
    unused = [{**row, **status} for row in encoded if row["video_id"] not in animated | not_ok]
    return [row for row in encoded if row["video_id"] in animated], unused


#: Columns that describe how a fake was made, as text.
_EMPTY_IN_REALS = (
    "action",
    "driver_id",
    "driver_person_id",
    "animator",
    "animator_licence",
    "motion_mode",
    "mouth_from",
    "precision",
    "framing",
    "reproducible_pixels",
    "checkpoint_sha256",
    "liveness",
)


def _real_row(encoded: Row, crop: Row, split_of: dict[str, str]) -> Row:
    return {
        **_common(encoded),
        **dict.fromkeys(_EMPTY_IN_REALS, ""),
        "split": split_of[encoded["video_id"]],
        "person_id": crop["person_id"],
        "source_id": encoded["video_id"],
        "synthetic": False,
    }


def _fake_row(encoded: Row, selected: Row, animated: Row) -> Row:
    return {
        **_common(encoded),
        **{name: animated[name] for name in (*_PAIR_COLUMNS, *_ANIMATOR_COLUMNS)},
        "liveness": selected.get("liveness", ""),
        "synthetic": True,
    }


def _common(encoded: Row) -> Row:
    return {name: encoded[name] for name in VIDEOS.names if name in encoded}


def _index_frames(path: Path, splits: pa.Table) -> tuple[pa.Table, list[Row]]:
    """Return the frames of a shard that are in the dataset (ENCODED_FRAME_INDEX), and what became of each video.

    Args:
        path: the shard's table of frames.
        splits: video_id and split of the videos in the dataset.
    """
    frames = read_table(path, [name for name in FRAMES.names if name != "image"])
    frames = frames.append_column("shard_row", pa.array(np.arange(frames.num_rows)))
    at = pc.index_in(frames["video_id"], splits["video_id"].combine_chunks())
    frames = frames.append_column("split", splits["split"].take(at)).filter(pc.is_valid(at))
    is_ok = pc.equal(frames["status"], OK)
    problems = frames.filter(pc.invert(is_ok)).to_pylist()
    frames = frames.filter(is_ok)
    good = {"status": OK, "reason": "", "detail": ""}
    items = [{"video_id": name, **good} for name in pc.unique(frames["video_id"]).to_pylist()]
    columns = {name: frames[name] for name in FRAME_INDEX.names if name in frames.column_names}
    columns["shard_path"] = pa.repeat(str(path), frames.num_rows)
    columns["shard_checksum"] = pa.repeat(pa.scalar(recorded_checksum(path), pa.string()), frames.num_rows)
    return pa.table(columns).select(FRAME_INDEX.names).cast(ENCODED_FRAME_INDEX), items + problems
