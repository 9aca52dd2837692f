"""Folder adapter: ids and people from file names, also for FOMM's face crops."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deepfakemnist.config.stages import SourceSettings
from deepfakemnist.errors import ConfigError
from deepfakemnist.sources.read import read_sources
from deepfakemnist.tables.dataset_schemas import LEDGER
from deepfakemnist.tables.files import write_table


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


def test_a_file_without_a_folder_is_a_person_of_its_own(tmp_path: Path) -> None:
    touch(tmp_path, "anna#1.mp4", "anna#2.mov", "bob.mp4", "carl/x#1.mp4")
    sheet = read_sources(SourceSettings(folder=tmp_path))
    assert {row["video_id"].split("-")[0]: row["person_id"] for row in sheet.rows} == {
        "anna#1": "anna", "anna#2": "anna", "bob": "bob", "carl_x#1": "carl",
    }  # fmt: skip
    assert not sheet.person_stated


def test_one_folder_that_holds_everything_is_not_taken_for_a_person(tmp_path: Path) -> None:
    touch(tmp_path, "vids/a.mp4", "vids/deep/b.mp4")
    with pytest.raises(
        ConfigError, match=f"all 2 videos below .* set sources.folder: {tmp_path / 'vids'}; if it is one"
    ):
        read_sources(SourceSettings(folder=tmp_path))
    rows = read_sources(SourceSettings(folder=tmp_path / "vids")).rows
    assert [row["person_id"] for row in rows] == ["a", "deep"]
    rows = read_sources(SourceSettings(folder=tmp_path, person_from="^(?P<person>[^/]+)/")).rows
    assert [row["person_id"] for row in rows] == ["vids", "vids"]


def test_files_that_differ_in_suffix_only_are_two_videos(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "a.mov", "b.mp4")
    assert {row["video_id"] for row in read_sources(SourceSettings(folder=tmp_path)).rows} == {"a.mp4", "a.mov", "b"}


def test_ids_that_are_one_file_where_case_does_not_count_get_a_hash(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "A.mp4", "b.mp4", "nul.x.mp4", "c.parquet.mp4", "d..mp4")
    ids = [row["video_id"] for row in read_sources(SourceSettings(folder=tmp_path)).rows]
    assert [name.rpartition("-")[0] or name for name in ids] == ["A", "a", "b", "c.parquet", "d.", "_nul.x"]
    assert len({name.lower() for name in ids}) == 6


def test_names_that_no_table_can_hold_are_rows(tmp_path: Path) -> None:
    touch(tmp_path, "p/good.mp4", "q/a\x1b[2J.mp4", os.fsdecode(b"p/\xff.mp4"), os.fsdecode(b"\xfe/b.mp4"))
    sheet = read_sources(SourceSettings(folder=tmp_path))
    assert [row["path"] for row in sheet.rows] == [str(tmp_path / "p/good.mp4")]
    assert [(row["video_id"], row["reason"]) for row in sheet.refused] == [
        ("\\udcfe", "undecodable_name"), ("p/\\udcff.mp4", "undecodable_name"), ("q/a\x1b[2J.mp4", "bad_name"),
    ]  # fmt: skip
    write_table(sheet.refused, tmp_path / "ledger.parquet", LEDGER)


def test_what_hides_a_video_has_a_row_and_the_rest_is_counted(tmp_path: Path) -> None:
    touch(tmp_path, "videos/p1/a.mp4", "videos/p2/b.mp4", "videos/p2/notes.txt")
    (tmp_path / "videos/p3").mkdir()
    (tmp_path / "videos/p3/gone.mp4").symlink_to("nowhere.mp4")
    (tmp_path / "videos/p3/again.mp4").symlink_to("../p1/a.mp4")
    sheet = read_sources(SourceSettings(folder=tmp_path / "videos"))
    assert [(row["video_id"], row["status"], row["reason"]) for row in sheet.refused] == [
        ("p3/gone.mp4", "rejected", "broken_link"), ("p3/again.mp4", "rejected", "same_file"),
    ]  # fmt: skip
    assert "p1/a.mp4" in sheet.refused[1]["detail"] and "nowhere.mp4" in sheet.refused[0]["detail"]
    assert sorted(item.reason for item in sheet.left_aside) == ["broken_link", "no_video_suffix", "same_file"]


def test_exclusion_and_sampling_keep_what_was_left_aside(tmp_path: Path) -> None:
    touch(tmp_path, "videos/p1/a.mp4", "videos/p2/b.mp4", "videos/p2/notes.txt", "videos/p3/c.mp4")
    (tmp_path / "out.tsv").write_text("video_id\tperson_id\treason\n\tp1\tasked\n")
    settings = SourceSettings(folder=tmp_path / "videos", exclude=tmp_path / "out.tsv", select={"candidates": 1})
    sheet = read_sources(settings)
    assert [item.path for item in sheet.left_aside] == ["p2/notes.txt"]
    assert not sheet.person_stated and "first folder" in sheet.person_rule


def test_unusable_folders(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no group named person"):
        read_sources(SourceSettings(folder=tmp_path, person_from="x"))
    with pytest.raises(ConfigError, match="is not a regular expression"):
        read_sources(SourceSettings(folder=tmp_path, person_from="("))
    with pytest.raises(ConfigError, match="no video below"):
        read_sources(SourceSettings(folder=tmp_path))
    touch(tmp_path, "a.jpg", "b.jpg", "c")
    with pytest.raises(ConfigError, match=r"Left aside: 3 without a video suffix \(\.jpg 2, none 1\)"):
        read_sources(SourceSettings(folder=tmp_path))
    touch(tmp_path, "x.mp4")
    with pytest.raises(ConfigError, match=r"finds a person in none of the 1 paths below .*'x\.mp4'"):
        read_sources(SourceSettings(folder=tmp_path, person_from="^(?P<person>[^/]+)/"))
    with pytest.raises(ConfigError, match="must be a glob below the folder"):
        read_sources(SourceSettings(folder=tmp_path, pattern="../*.mp4"))
    with pytest.raises(ConfigError, match="is not a folder"):
        read_sources(SourceSettings(folder=tmp_path / "none"))
