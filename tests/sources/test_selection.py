"""Source selection: balanced, seeded, deduplicated, with reasons in the table."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from deepfakemnist.config.stages import SelectionSettings
from deepfakemnist.sources.selection import apply_selection, choose_sources
from deepfakemnist.tables.files import read_rows, write_table
from deepfakemnist.tables.schemas import CROPPED, Row


def crop_row(video_id: str, **changes: object) -> Row:
    blank: Row = dict.fromkeys(CROPPED.names)
    facts = {"video_id": video_id, "role": "source", "person_id": video_id.split("#")[0], "path": f"{video_id}.mp4"}
    good = {"frames": 100, "fps": 25.0, "face_px": 120.0, "pixels_sha256": f"hash of {video_id}", "status": "ok"}
    return {**blank, **facts, **good, "reason": "", "detail": "", **changes}


@pytest.fixture
def crops(tmp_path: Path) -> list[Path]:
    """Four people with five clips each of 60 to 100 frames in two shards; one failed, two show the same pixels."""
    rows = [
        crop_row(f"p{p}#{n}", frames=60 + 10 * n, face_px=80.0 + 20 * ((p + n) % 5)) for p in range(4) for n in range(5)
    ]
    rows[3] = crop_row("p0#3", status="rejected", reason="no_face", path=None, frames=None, pixels_sha256=None)
    rows[7]["pixels_sha256"] = rows[12]["pixels_sha256"]
    paths = [tmp_path / f"{number}.parquet" for number in (0, 1)]
    for number, path in enumerate(paths):
        write_table(rows[number::2], path, CROPPED)
    return paths


def choose(crops: list[Path], table: Path, videos: int | None, seed: int = 7) -> dict[str, Row]:
    choose_sources(crops, table, SelectionSettings(videos=videos), seed)
    return {row["video_id"]: row for row in read_rows(table)}


def test_selection_is_balanced_over_people(crops: list[Path], tmp_path: Path) -> None:
    choice = choose(crops, tmp_path / "choice.parquet", 8)
    kept = [row for row in choice.values() if row["status"] == "ok"]
    assert Counter(row["person_id"] for row in kept) == {"p0": 2, "p1": 2, "p2": 2, "p3": 2}
    assert "p0#3" not in choice and len(choice) == 19
    left = [row for row in choice.values() if row["reason"] == "not_chosen"]
    assert all(row["detail"].endswith("of 19; 8 are kept") for row in left)
    assert max(row["place"] for row in kept) < min(row["place"] for row in left)
    assert choose(crops[::-1], tmp_path / "again.parquet", 8) == choice
    assert {n for n, row in choose(crops, tmp_path / "other.parquet", 8, seed=8).items() if row["status"] == "ok"} != {
        row["video_id"] for row in kept
    }


def test_duplicates_are_kept_once(crops: list[Path], tmp_path: Path) -> None:
    choice = choose(crops, tmp_path / "choice.parquet", None)
    (twin,) = [row for row in choice.values() if row["reason"] == "duplicate"]
    assert twin["video_id"] in ("p1#2", "p2#2")
    other = "p2#2" if twin["video_id"] == "p1#2" else "p1#2"
    assert twin["detail"] == f"same cropped pixels as {other}"
    assert choice[other]["status"] == "ok" and sum(row["status"] == "ok" for row in choice.values()) == 18


def test_unselected_crops_carry_the_reason(crops: list[Path], tmp_path: Path) -> None:
    choice = choose(crops, tmp_path / "choice.parquet", 8)
    apply_selection(crops[1], tmp_path / "choice.parquet", tmp_path / "kept.parquet")
    before = {row["video_id"]: row for row in read_rows(crops[1])}
    for row in read_rows(tmp_path / "kept.parquet"):
        outcome = choice.get(row["video_id"])
        if outcome is None or outcome["status"] == "ok":
            assert row == before[row["video_id"]]
        else:
            assert (row["status"], row["reason"], row["detail"]) == ("rejected", outcome["reason"], outcome["detail"])
            assert row["path"] is None and row["pixels_sha256"] is None and row["person_id"] == outcome["person_id"]


def test_drivers_are_all_kept(crops: list[Path], tmp_path: Path) -> None:
    apply_selection(crops[0], None, tmp_path / "kept.parquet")
    assert read_rows(tmp_path / "kept.parquet") == read_rows(crops[0])
