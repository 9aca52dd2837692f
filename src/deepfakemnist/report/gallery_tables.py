"""Tables of a run behind the gallery: accepted and rejected fakes, sources, drivers, and actions without a fake."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepfakemnist.config.base import ACTIONS
from deepfakemnist.liveness.examples import first_rejected
from deepfakemnist.report.gallery import Fake
from deepfakemnist.report.losses import losses_by_action
from deepfakemnist.report.reason_texts import what_happened
from deepfakemnist.tables.files import column_names, read_table
from deepfakemnist.tables.schemas import OK, Row

_VIDEO = (
    "video_id", "label", "split", "action", "source_id", "driver_id", "animator", "path", "frames", "source_frame",
    "liveness",
)  # fmt: skip
_SELECTED = (
    "video_id", "split", "action", "source_id", "driver_id", "animator", "path", "frames", "liveness", "status",
    "reason", "detail",
)  # fmt: skip
_FIGURES = ("transfer", "identity_kept", "sharpness_ratio")
#: Figures of an encoded clip beside its quality.
_QUALITY = ("video_id", "quality", "path", "bytes", "psnr_db", "ssim", "vmaf")


@dataclass(frozen=True)
class GalleryTables:
    """Tables that a run has; released trees have no more than the first two.

    Args:
        videos, ledger: of the manifest.
        selected: SELECTED tables.
        judged: ANIMATION_QUALITY tables.
        verdicts: VERDICTS tables of all providers.
        sources, drivers: CROPPED tables.
    """

    videos: Path
    ledger: Path
    selected: Sequence[Path] = ()
    judged: Sequence[Path] = ()
    verdicts: Sequence[Path] = ()
    sources: Sequence[Path] = ()
    drivers: Sequence[Path] = ()


@dataclass(frozen=True)
class Clip:
    """A real clip and its number of frames."""

    path: str
    frames: int


@dataclass
class Material:
    """What the gallery chooses from.

    Args:
        accepted, rejected: fakes.
        sources, drivers: id → clip; a source of the dataset as it is there.
        providers: liveness providers that gave a verdict on any fake.
    """

    accepted: list[Fake] = field(default_factory=list)
    rejected: list[Fake] = field(default_factory=list)
    sources: dict[str, Clip] = field(default_factory=dict)
    drivers: dict[str, Clip] = field(default_factory=dict)
    providers: list[str] = field(default_factory=list)


def read_material(tables: GalleryTables, quality: str) -> Material:
    """Return the fakes at a quality and at most one rejected per animator and action, and the clips they are made of.

    Only the columns needed are read. Raises: DamagedTable.
    """
    material = Material()
    judged = _figures(tables.judged)
    for row in _rows([tables.videos], _VIDEO, [("quality", "==", quality)]):
        if row["label"]:
            measured = judged.get(row["video_id"], {})
            material.accepted.append(_fake(row, measured, row["source_frame"]))
        else:
            material.sources[row["video_id"]] = Clip(row["path"], row["frames"])
    rows = _rows(tables.selected, _SELECTED)
    examples = first_rejected(rows).values()
    unanswered = _unanswered(tables.verdicts, [row["video_id"] for row in examples])
    for row in examples:
        measured = judged.get(row["video_id"], {})
        refusal = ": ".join(text for text in (row["reason"], row["detail"]) if text)
        material.rejected.append(
            _fake(row, measured, measured.get("source_frame"), refusal, unanswered[row["video_id"]])
        )
    named = {text for row in rows if (text := row["liveness"])}
    material.providers = sorted(
        {name for text in named for name in json.loads(text)}
        | {name for reasons in unanswered.values() for name in reasons}
    )
    wanted = {fake.source_id for fake in material.rejected} - material.sources.keys()
    material.sources |= _crops(tables.sources, wanted)
    material.drivers = _crops(tables.drivers, {fake.driver_id for fake in (*material.accepted, *material.rejected)})
    return material


def encoded_at(videos: Path, video_id: str, qualities: Sequence[str]) -> list[Row]:
    """Return path, bytes and similarity of a clip of the dataset at every quality, in the order given."""
    rows = _rows([videos], _QUALITY, [("video_id", "==", video_id)])
    return sorted((row for row in rows if row["quality"] in qualities), key=lambda row: qualities.index(row["quality"]))


def without_fake(ledger: Path, accepted: Iterable[Fake], planned: Sequence[str] | None) -> list[tuple[str, str]]:
    """Return the actions without a fake in the dataset and why: not planned, or what became of their fakes.

    Args:
        ledger: the manifest's ledger.
        accepted: fakes of the dataset.
        planned: actions of the config; None: the dataset was imported.
    """
    made = {fake.action for fake in accepted}
    lacking = [action for action in ACTIONS if action not in made]
    columns = ("kind", "action", "stage", "status", "reason")
    lost = [("kind", "==", "fake"), ("status", "!=", OK)]
    counts = losses_by_action(_rows([ledger], columns, lost) if lacking else ())
    found: list[tuple[str, str]] = []
    for action in lacking:
        if planned is not None and action not in planned:
            why = "Not among plan.actions."
        elif counts[action]:
            why = " ".join(
                f"{count:,} left out at {stage}: {what_happened(reason)}"
                for (stage, reason), count in counts[action].most_common()
            )
        else:
            unplanned = "No fake was planned: no driver of it, or no quota."
            why = "None in the published tree." if planned is None else unplanned
        found.append((action, why))
    return found


def _fake(
    row: Row,
    measured: Mapping[str, Any],
    source_frame: int | None,
    refusal: str = "",
    unanswered: Mapping[str, str] | None = None,
) -> Fake:
    return Fake(
        video_id=row["video_id"],
        action=row["action"],
        animator=row["animator"] or "",
        split=row["split"] or "",
        source_id=row["source_id"] or "",
        driver_id=row["driver_id"] or "",
        path=row["path"] or "",
        frames=row["frames"] or 0,
        source_frame=source_frame,
        refusal=refusal,
        verdicts=json.loads(row["liveness"] or "{}"),
        unanswered=unanswered or {},
        transfer=measured.get("transfer"),
        identity_kept=measured.get("identity_kept"),
        sharpness_ratio=measured.get("sharpness_ratio"),
    )


def _unanswered(verdicts: Sequence[Path], videos: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return video → provider → why it gave no verdict."""
    found: dict[str, dict[str, str]] = {name: {} for name in videos}
    wanted = [("video_id", "in", videos), ("status", "!=", OK)]
    for row in _rows(verdicts, ("video_id", "provider", "reason"), wanted) if videos else []:
        found[row["video_id"]][row["provider"]] = row["reason"]
    return found


def _figures(judged: Sequence[Path]) -> dict[str, Row]:
    columns = ("video_id", "source_frame", "status", *_FIGURES)
    return {row["video_id"]: row for row in _rows(judged, columns) if row["status"] == OK}


def _crops(tables: Sequence[Path], wanted: set[str]) -> dict[str, Clip]:
    rows = _rows(tables, ("video_id", "path", "frames", "status"), [("status", "==", OK)])
    return {row["video_id"]: Clip(row["path"], row["frames"]) for row in rows if row["video_id"] in wanted}


def _rows(
    paths: Sequence[Path], columns: Sequence[str], filters: Sequence[tuple[str, str, object]] | None = None
) -> list[Row]:
    """Return rows with these columns, None where a table has no such column."""
    found: list[Row] = []
    for path in paths:
        there = set(column_names(path))
        lacking = dict.fromkeys(name for name in columns if name not in there)
        kept = [name for name in columns if name in there]
        found += [{**lacking, **row} for row in read_table(path, kept, filters).to_pylist()]
    return found
