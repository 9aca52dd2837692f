"""Finished files that a job takes over after Snakemake has deleted them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deepfakemnist.tables.kept_results import KeptResults


def finished(folder: Path, digest: str = "one") -> tuple[KeptResults, list[Path]]:
    """Return the results of a finished job, whose two files are then deleted as before a second run."""
    files = [folder / "weights.bin", folder / "log.tsv"]
    for path in files:
        path.write_text(f"{path.name} of {digest}")
    results = KeptResults(files, digest)
    results.keep()
    for path in files:
        path.unlink()
    return results, files


def test_deleted_results_are_taken_over_again_and_again_and_take_no_space(tmp_path: Path) -> None:
    results, files = finished(tmp_path)
    for _ in range(2):
        assert results.take_over()
        assert [path.read_text() for path in files] == ["weights.bin of one", "log.tsv of one"]
        assert [path.stat().st_nlink for path in files] == [2, 2]
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            ".log.tsv.kept", ".weights.bin.kept", ".weights.bin.kept.json", "log.tsv", "weights.bin",
        ]  # fmt: skip
        for path in files:
            path.unlink()


def test_results_of_other_inputs_settings_or_code_are_not_taken_over_and_free_their_space(tmp_path: Path) -> None:
    results, files = finished(tmp_path)
    assert not KeptResults(files, "two").take_over()
    assert list(tmp_path.iterdir()) == []
    assert not results.take_over()


@pytest.mark.parametrize("name", [".weights.bin.kept", ".log.tsv.kept", ".weights.bin.kept.json"])
@pytest.mark.parametrize(
    "damage", [os.unlink, lambda path: path.write_bytes(b"\0"), lambda path: path.write_text("{}")]
)
def test_results_that_are_incomplete_or_damaged_are_not_taken_over(tmp_path: Path, name, damage) -> None:
    results, _ = finished(tmp_path)
    damage(tmp_path / name)
    assert not results.take_over()
    assert list(tmp_path.iterdir()) == []


def test_damage_of_a_declared_file_is_damage_of_its_second_name(tmp_path: Path) -> None:
    results, files = finished(tmp_path)
    assert results.take_over()
    with files[0].open("r+b") as file:
        file.write(b"X")
    files[0].unlink()
    assert not results.take_over()


def test_an_older_version_is_replaced(tmp_path: Path) -> None:
    finished(tmp_path, "one")
    results, files = finished(tmp_path, "two")
    assert results.take_over() and files[0].read_text() == "weights.bin of two"


def test_file_systems_without_hard_links_get_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    results, files = finished(tmp_path)
    assert results.take_over() and files[1].read_text() == "log.tsv of one" and files[1].stat().st_nlink == 1
