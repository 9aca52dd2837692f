"""Which of the videos that passed crop become sources: a seeded choice, even over people, length and face size.

Two videos are the same when their crops are, by the hash of decoded pixels: the container, the sound and the name of a
file do not make another video. Only the first of them in the order of the choice is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deepfakemnist.config.stages import SelectionSettings
from deepfakemnist.sources.candidates import stratified
from deepfakemnist.tables.files import read_rows, write_table
from deepfakemnist.tables.schemas import CHOICE, CROPPED, OK, REJECTED, Row

_MADE_BY_CROP = ("path", "frames", "fps", "pixels_sha256")


def choose_sources(crops: Sequence[Path], table: Path, settings: SelectionSettings, seed: int) -> None:
    """Write ``table`` (``tables.CHOICE``): every source that passed crop, its place, and why it is in or out.

    Args:
        crops: tables of all source shards.
        table: Parquet file to write.
        settings: how many videos.
        seed: the run's seed.
    """
    usable = [row for row in read_rows(crops) if row["status"] == OK]
    order = stratified(usable, [lambda row: float(row["frames"]), lambda row: float(row["face_px"])], seed)
    first_with: dict[str, str] = {}
    rows: list[Row] = []
    kept = 0
    for place, row in enumerate(order):
        twin = first_with.setdefault(row["pixels_sha256"], row["video_id"])
        if twin != row["video_id"]:
            verdict = (REJECTED, "duplicate", f"its crop has the same pixels as that of {twin}")
        elif settings.videos is not None and kept >= settings.videos:
            verdict = (REJECTED, "not_chosen", f"place {place + 1} of {len(order)}; {settings.videos} are kept")
        else:
            kept += 1
            verdict = (OK, "", f"place {place + 1} of {len(order)}")
        facts = {name: row[name] for name in CHOICE.names if name in row}
        rows.append({**facts, "place": place, **dict(zip(("status", "reason", "detail"), verdict, strict=True))})
    write_table(rows, table, CHOICE)


def apply_selection(crops: Path, choice: Path | None, table: Path) -> None:
    """Write a shard's CROPPED table again, with what was not chosen rejected for the reason that ``choice`` gives.

    Args:
        crops: the shard's table.
        choice: table of :func:`choose_sources`; None keeps everything, as for drivers.
        table: Parquet file to write.
    """
    verdicts = {row["video_id"]: row for row in read_rows(choice)} if choice else {}
    rows = []
    for row in read_rows(crops):
        verdict = verdicts.get(row["video_id"])
        if row["status"] == OK and verdict is not None and verdict["status"] != OK:
            said = {name: verdict[name] for name in ("status", "reason", "detail")}
            row = {**row, **dict.fromkeys(_MADE_BY_CROP), **said}
        rows.append(row)
    write_table(rows, table, CROPPED)
