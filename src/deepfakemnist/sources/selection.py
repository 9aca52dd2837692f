"""Source selection among cropped videos: deduplicated, seeded, balanced over people, length and face size.

Videos are duplicates when their crops have the same pixel hash; container, audio and file name do not matter. Only the
first duplicate in the seeded order is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deepfakemnist.config.stages import SelectionSettings
from deepfakemnist.sources.candidates import stratified_order
from deepfakemnist.tables.files import read_rows, write_table
from deepfakemnist.tables.schemas import CHOICE, CROPPED, OK, REJECTED, Row

_MADE_BY_CROP = ("path", "frames", "fps", "pixels_sha256")


def choose_sources(crops: Sequence[Path], table: Path, settings: SelectionSettings, seed: int) -> None:
    """Write ``table`` (``tables.CHOICE``): every source that passed crop, its rank, and whether it is kept and why.

    Args:
        crops: tables of all source shards.
        table: Parquet file to write.
        settings: number of videos to keep.
        seed: the run's seed.
    """
    usable = [row for row in read_rows(crops) if row["status"] == OK]
    order = stratified_order(usable, [lambda row: float(row["frames"]), lambda row: float(row["face_px"])], seed)
    first_with: dict[str, str] = {}
    rows: list[Row] = []
    kept = 0
    for place, row in enumerate(order):
        twin = first_with.setdefault(row["pixels_sha256"], row["video_id"])
        if twin != row["video_id"]:
            outcome = (REJECTED, "duplicate", f"same cropped pixels as {twin}")
        elif settings.videos is not None and kept >= settings.videos:
            outcome = (REJECTED, "not_chosen", f"rank {place + 1} of {len(order)}; {settings.videos} are kept")
        else:
            kept += 1
            outcome = (OK, "", f"rank {place + 1} of {len(order)}")
        facts = {name: row[name] for name in CHOICE.names if name in row}
        rows.append({**facts, "place": place, **dict(zip(("status", "reason", "detail"), outcome, strict=True))})
    write_table(rows, table, CHOICE)


def apply_selection(crops: Path, choice: Path | None, table: Path) -> None:
    """Write a copy of a shard's CROPPED table in which unselected rows are rejected with the reason in ``choice``.

    Args:
        crops: the shard's table.
        choice: table written by :func:`choose_sources`; None keeps everything, as for drivers.
        table: Parquet file to write.
    """
    outcomes = {row["video_id"]: row for row in read_rows(choice)} if choice else {}
    rows = []
    for row in read_rows(crops):
        outcome = outcomes.get(row["video_id"])
        if row["status"] == OK and outcome is not None and outcome["status"] != OK:
            rejection = {name: outcome[name] for name in ("status", "reason", "detail")}
            row = {**row, **dict.fromkeys(_MADE_BY_CROP), **rejection}
        rows.append(row)
    write_table(rows, table, CROPPED)
