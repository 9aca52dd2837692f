"""Input files are known by content, whatever their time stamps say."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from deepfakemnist.tables.file_versions import to_metadata, versions_of
from deepfakemnist.tables.files import write_table
from deepfakemnist.tables.schemas import INGESTED
from deepfakemnist.workflow.input_files import CACHE, InputFiles

CONTENTS = (b"one", b"two", b"three and more")


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "video.mp4"
    path.write_bytes(CONTENTS[0])
    return path


def ingest(results: Path, *videos: Path) -> Path:
    """Write the table that a job makes from videos."""
    table = results / "ingest/source/shard.parquet"
    write_table([], table, INGESTED, to_metadata(versions_of(map(str, videos))))
    return table


def replace(path: Path, content: bytes, times_of: Path | None = None) -> None:
    """Replace a file as ``cp -p`` does: by a new one with the times of an older file, here its own."""
    new = path.with_name("new")
    new.write_bytes(content)
    shutil.copystat(times_of or path, new)
    new.replace(path)


def version(results: Path, table: Path, video: Path) -> tuple[list[str], bool]:
    """Return version and whether only the time is new, as a new process would find them."""
    files = InputFiles(results)
    return files.versions(table, [str(video)]), files.is_touched(table, str(video))


@pytest.mark.parametrize("content", CONTENTS[1:], ids=["same size", "other size"])
def test_a_file_replaced_by_one_with_the_same_time_has_another_version(tmp_path, video, content, capsys):
    results = tmp_path / "results"
    before = version(results, results / "nothing.parquet", video)
    table = ingest(results, video)
    assert version(results, table, video) == before, "a table made from the file changes nothing"
    assert not (results / CACHE).exists(), "nothing is read while size and times are the same"
    time = video.stat().st_mtime_ns
    replace(video, content)
    assert video.stat().st_mtime_ns == time
    changed = version(results, table, video)
    assert changed[0] != before[0] and not changed[1]
    assert f"{video} has another content than when it was processed" in capsys.readouterr().err
    assert version(results, ingest(results, video), video) == changed, "made again, it is up to date"


def test_a_touched_file_keeps_its_version_and_is_read_once(tmp_path, video):
    results = tmp_path / "results"
    table = ingest(results, video)
    before = version(results, table, video)
    os.utime(video, (2e9, 2e9))
    assert version(results, table, video) == (before[0], True)
    cached = (results / CACHE).stat().st_mtime_ns
    assert version(results, table, video) == (before[0], True)
    assert (results / CACHE).stat().st_mtime_ns == cached


def test_an_unwritable_or_damaged_cache_costs_time_only(tmp_path, video):
    table = ingest(tmp_path / "tables", video)
    before = version(tmp_path, table, video)
    os.utime(video, (2e9, 2e9))
    (tmp_path / "file").touch()
    assert version(tmp_path / "file/results", table, video) == (before[0], True)
    (tmp_path / CACHE).write_text('{"cut')
    assert version(tmp_path, table, video) == (before[0], True)
    table.write_bytes(b"damaged")
    assert version(tmp_path, table, video)[1] is False


def test_a_version_changes_if_and_only_if_the_content_did(tmp_path, video):
    """Random edits and runs; a job runs when its parameter is not the one it last ran with."""
    results, draw = tmp_path / "results", random.Random(5)
    table, recorded, made_from = results / "ingest/source/shard.parquet", None, None
    runs = 0
    for _ in range(300):
        edit = draw.choice(["replace", "replace", "touch", "old", "run", "run"])
        if edit == "replace":
            replace(video, draw.choice(CONTENTS))
        elif edit in ("touch", "old"):
            time = draw.randrange(10**18, 2 * 10**18)
            os.utime(video, ns=(time, time))
        else:
            found, touched = version(results, table, video)
            stale = video.read_bytes() != made_from
            assert (found != recorded) == stale
            assert not (touched and stale)
            if stale:
                ingest(results, video)
                recorded, made_from, runs = found, video.read_bytes(), runs + 1
    assert runs > 20


def test_hashes_of_single_files_follow_their_content(tmp_path, video):
    results = tmp_path / "results"
    first = InputFiles(results).sha256(video)
    assert len(first) == 64
    replace(video, CONTENTS[1])
    files = InputFiles(results)
    assert files.sha256(video) != first and not files.has_new_time(video)
    os.utime(video, (2e9, 2e9))
    files = InputFiles(results)
    assert files.has_new_time(video) and files.sha256(video) == InputFiles(results, compare=False).sha256(video)


def test_a_job_that_makes_a_table_has_the_versions_of_the_main_process(tmp_path, video):
    results = tmp_path / "results"
    table = results / "ingest/source/a.parquet"
    missing = str(tmp_path / "missing.mp4")
    planned = InputFiles(results).versions(table, [str(video), missing])
    assert InputFiles(results, compare=False).versions(table, [str(video), missing]) == planned
    replace(video, CONTENTS[1])
    assert InputFiles(results, compare=False).versions(table, [str(video), missing]) != planned


def test_what_cannot_be_read_has_a_version_of_its_own(tmp_path):
    (tmp_path / "folder.mp4").mkdir()
    assert versions_of([str(tmp_path / "folder.mp4")])[str(tmp_path / "folder.mp4")].sha256 == ""
    assert versions_of([str(tmp_path / "missing.mp4")]) == {}


def test_files_among_the_results_are_left_to_snakemake(tmp_path):
    made = tmp_path / "results/manifest/videos.parquet"
    made.parent.mkdir(parents=True)
    made.write_bytes(b"any")
    files = InputFiles(tmp_path / "results")
    assert files.sha256(made) == files.sha256(None) == files.sha256(tmp_path / "missing") == ""
    assert not files.has_new_time(made)
