"""Folder adapter: ids and people from file names, also for FOMM's face crops."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepfakemnist.config.stages import SourceSettings
from deepfakemnist.errors import ConfigError
from deepfakemnist.sources.read import read_sources


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).touch()


def test_ids_and_people_come_from_paths(tmp_path: Path) -> None:
    touch(tmp_path, "id1/a.mp4", "id1/café 1.MKV", "id2/a.mp4", "notes.txt", ".hidden/x.mp4")
    rows = read_sources(SourceSettings(folder=tmp_path)).rows
    assert len({row["video_id"] for row in rows}) == 3
    assert {row["person_id"] for row in rows} == {"id1", "id2"}
    assert all(row["video_id"].startswith(("id1_a-", "id1_caf__1-", "id2_a-")) for row in rows)
    assert {(row["adapter"], row["cropped"]) for row in rows} == {("folder", False)}


def test_crops_named_by_fomm(tmp_path: Path) -> None:
    touch(tmp_path, "train/id10001#7w0#000010#000090.mp4", "test/id10002#x_Y#000000#000064.mp4")
    rows = read_sources(SourceSettings(folder=tmp_path, cropped=True)).rows
    assert {row["person_id"] for row in rows} == {"id10001", "id10002"}
    assert all(row["cropped"] for row in rows)


def test_person_by_expression(tmp_path: Path) -> None:
    touch(tmp_path, "2021/anna_take3.mp4", "2021/bob_take1.mp4", "2021/.mp4.mp4", "2021/Nobody.mp4")
    sheet = read_sources(SourceSettings(folder=tmp_path, person_from=r"/(?P<person>[a-z]+)_"))
    assert [row["person_id"] for row in sheet.rows] == ["anna", "bob"]
    (refused,) = sheet.refused
    assert (refused["video_id"], refused["status"]) == ("2021/Nobody.mp4", "rejected")


def test_unusable_folders(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no group named person"):
        read_sources(SourceSettings(folder=tmp_path, person_from="x"))
    with pytest.raises(ConfigError, match="is not a regular expression"):
        read_sources(SourceSettings(folder=tmp_path, person_from="("))
    with pytest.raises(ConfigError, match="no video below"):
        read_sources(SourceSettings(folder=tmp_path))
    with pytest.raises(ConfigError, match="is not a folder"):
        read_sources(SourceSettings(folder=tmp_path / "none"))
