"""Stored files of a run: an altered byte is found in every kind, and files of killed jobs are no fault."""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_dataset import make_dataset

from deepfakemnist.cli.manifest import add_arguments
from deepfakemnist.dataset.check import check_all, check_dataset
from deepfakemnist.dataset.repair import find_repairs, finish_repair, remove_damaged
from deepfakemnist.errors import ConfigError
from deepfakemnist.tables.dataset_schemas import PREDICTIONS, VIDEOS
from deepfakemnist.tables.files import PART_FILE, atomic_path, read_rows, remove_part_files, write_table
from deepfakemnist.tables.schemas import ANIMATED, COMPRESSED

#: A file of each kind that a run stores, its table, and the kind of problem it is when a byte is altered.
KINDS = {
    "crop": ("results/crop/source/a/s1.mp4", "results/crop/source/a.parquet", "changed"),
    "animation": ("results/animate/a/s1@nod-d1.mp4", "results/animate/a.parquet", "changed"),
    "motion": ("results/extract_motion/a/d0.npz", "results/extract_motion/a.parquet", "changed"),
    "video, real": ("results/compress/real/a/c23/s1.mp4", "results/compress/real/a.parquet", "changed"),
    "video, fake": ("results/compress/fake/a/c40/s0@nod-d0.mp4", "results/compress/fake/a.parquet", "changed"),
    "frames": ("results/frames/fake/a.parquet", "results/frames/fake/a.parquet", "damaged_table"),
    "table of crops": ("results/crop/source/a.parquet", "results/crop/source/a.parquet", "damaged_table"),
    "table of motions": ("results/extract_motion/a.parquet", "results/extract_motion/a.parquet", "damaged_table"),
    "table of videos": ("results/compress/real/a.parquet", "results/compress/real/a.parquet", "damaged_table"),
    "manifest, pairs": ("results/manifest/pairs.parquet", "results/manifest/pairs.parquet", "damaged_table"),
    "manifest, ledger": ("results/manifest/ledger.parquet", "results/manifest/ledger.parquet", "damaged_table"),
}


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("intact")
    make_dataset(root)
    return root


@pytest.fixture
def root(intact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to damage, which is the working directory."""
    monkeypatch.chdir(Path(shutil.copytree(intact / "results", tmp_path / "run/results")).parent)
    return Path()


def check_command(*more: str) -> int:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    parsed = parser.parse_args(["check", *more])
    return int(parsed.run(parsed))


@pytest.mark.parametrize("name", KINDS)
def test_an_altered_byte_is_found_anywhere_in_every_kind_of_file(root: Path, name: str) -> None:
    path, table, kind = KINDS[name]
    content = Path(path).read_bytes()
    rng = np.random.default_rng(list(name.encode()))
    # Both ends, where headers and indices lie, and three places between.
    for at in (0, len(content) - 1, *rng.integers(0, len(content), 3)):
        altered = bytearray(content)
        altered[at] ^= 1 << int(rng.integers(8))
        Path(path).write_bytes(altered)
        problems = check_dataset(Path("results/manifest"))
        assert [(problem.kind, problem.subject) for problem in problems] == [(kind, path)], at
        repair = find_repairs(Path("results"))
        assert [(damage.kind, str(damage.path), str(damage.table)) for damage in repair.damaged] == [
            (kind, path, table)
        ]
    Path(path).write_bytes(content)
    assert check_dataset(Path("results/manifest"), decode=True) == []


LOSSES: dict[str, Callable[[Path], object]] = {
    "deleted": Path.unlink,
    "emptied": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-7]),
}


@pytest.mark.parametrize(
    ("name", "loss"),
    # Snakemake itself makes a missing table again.
    [(name, loss) for name in KINDS for loss in LOSSES if loss != "deleted" or KINDS[name][0] != KINDS[name][1]],
)
def test_what_is_gone_empty_or_cut_is_named_with_its_table(root: Path, name: str, loss: str) -> None:
    path, table, _ = KINDS[name]
    LOSSES[loss](Path(path))
    (found,) = find_repairs(Path("results")).damaged
    assert (str(found.path), str(found.table)) == (path, table)
    assert found.kind == ("damaged_table" if path == table else "missing" if loss == "deleted" else "truncated")


def test_a_check_names_the_command_that_repairs(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("results/crop/source/a.parquet").write_bytes(b"")
    assert check_command() == 1
    shown = capsys.readouterr().out
    assert "damaged_table    results/crop/source/a.parquet: is empty (0 bytes)" in shown
    assert "`deepfakemnist repair`" in shown


def test_unfinished_files_of_killed_jobs_are_listed_and_no_fault(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    killed = Path("results/compress/real/a/c23/.s1.k1ll3d__.part.mp4")
    killed.write_bytes(b"half")
    assert check_command() == 0
    assert f"1 unfinished files of killed jobs, which nothing reads, e.g. {killed}" in capsys.readouterr().out
    repair = find_repairs(Path("results"))
    assert (repair.targets, repair.part_files) == ([], [killed])
    remove_damaged(repair)
    assert not killed.exists()


def test_a_job_removes_its_own_unfinished_files_and_no_others(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "x.mp4") as part:
        assert PART_FILE.fullmatch(part.name)
    own = [
        tmp_path / "a/c23/.clip.12345678.part.mp4",
        tmp_path / ".a.12345678.part.parquet",
        tmp_path / ".a.parquet.12345678.part.journal",
    ]
    others = [
        tmp_path / "a.b/.clip.12345678.part.mp4",
        tmp_path / ".a.b.12345678.part.parquet",
        tmp_path / ".ab.12345678.part.parquet",
        tmp_path / "a/c23/clip.mp4",
    ]
    for path in own + others:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    remove_part_files(tmp_path / "a.parquet", tmp_path / "a")
    assert [path.exists() for path in own + others] == [False] * 3 + [True] * 4


def test_equal_videos_under_two_names_are_reported_and_tolerated_as_by_the_manifest(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = read_rows("results/manifest/videos.parquet")
    rows[2]["pixels_sha256"] = rows[0]["pixels_sha256"]
    write_table(rows, "results/manifest/videos.parquet", VIDEOS)
    assert check_command() == 0
    assert "tolerated: duplicate_pixels: s0, s1: decode to the same pixels at c23" in capsys.readouterr().out


def test_a_fake_beyond_the_quota_is_no_extra_file(root: Path) -> None:
    rows = read_rows("results/manifest/videos.parquet")
    write_table([row for row in rows if row["video_id"] != "s3@nod-d1"], "results/manifest/videos.parquet", VIDEOS)
    assert {problem.kind for problem in check_dataset(Path("results/manifest"))} == {"stray_frame"}


def test_results_of_older_versions_are_said_to_be_unchecked_and_compared_by_pixels(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = Path("results/crop/source/a.parquet")
    stored = pq.read_table(table).drop_columns(["bytes", "sha256"])
    pq.write_table(stored, table)
    assert check_command() == 0
    shown = capsys.readouterr().out
    assert "5 tables and files carry no checksum (written by version 0.2 or earlier)" in shown
    assert check_command("--decode") == 0
    shutil.copy("results/crop/source/a/s2.mp4", "results/crop/source/a/s1.mp4")
    assert check_all(Path("results/manifest")).problems == []
    (problem,) = check_all(Path("results/manifest"), decode=True).problems
    assert (problem.kind, problem.subject) == ("other_pixels", "results/crop/source/a/s1.mp4")


def test_frames_replaced_after_the_index_are_found(root: Path) -> None:
    path = Path("results/frames/real/a.parquet")
    table = pq.read_table(path)
    write_table(table, path, table.schema, {"other": "bytes"})
    (problem,) = check_dataset(Path("results/manifest"))
    assert (problem.kind, problem.subject) == ("changed", str(path))
    assert "the index says" in problem.detail


def test_a_repair_removes_the_damaged_file_and_its_table_and_keeps_the_rest(root: Path) -> None:
    damaged, table = Path("results/compress/real/a/c23/s1.mp4"), Path("results/compress/real/a.parquet")
    modified = table.stat().st_mtime_ns
    content = table.read_bytes()
    damaged.write_bytes(damaged.read_bytes()[:-1])
    before = set(Path("results").rglob("*"))
    repair = find_repairs(Path("results"))
    assert repair.targets == [str(table)]
    assert set(Path("results").rglob("*")) == before, "listing changes nothing"
    assert remove_damaged(repair) == [damaged, table]
    assert before - set(Path("results").rglob("*")) == {damaged, table}

    interrupted = find_repairs(Path("results"))
    assert interrupted.targets == [str(table)]
    with pytest.raises(ConfigError, match="1 of 1 tables were not made again, e.g. results/compress/real/a.parquet"):
        finish_repair(interrupted)
    table.write_bytes(content)
    assert finish_repair(interrupted) == ([str(table)], [])
    assert table.stat().st_mtime_ns == modified
    assert find_repairs(Path("results")).pending == {}


def test_a_table_that_comes_out_differently_keeps_its_new_time(root: Path) -> None:
    table = Path("results/compress/real/a.parquet")
    rows, modified = read_rows(table), table.stat().st_mtime_ns
    Path(rows[0]["path"]).unlink()
    repair = find_repairs(Path("results"))
    remove_damaged(repair)
    write_table([{**row, "code": "other"} for row in rows], table, COMPRESSED)
    assert finish_repair(find_repairs(Path("results"))) == ([], [str(table)])
    assert table.stat().st_mtime_ns > modified


def test_cut_frames_are_known_by_the_checksum_in_the_index(root: Path) -> None:
    table = Path("results/frames/real/a.parquet")
    content = table.read_bytes()
    table.write_bytes(content[:1000])
    remove_damaged(find_repairs(Path("results")))
    table.write_bytes(content)
    assert finish_repair(find_repairs(Path("results"))) == ([str(table)], [])


@pytest.mark.parametrize(
    ("weights", "table", "schema"),
    [
        ("results/animator/checkpoint.safetensors", "results/animate/a.parquet", ANIMATED),
        (
            "results/detectors/meso4/c23/seed0/checkpoint.safetensors",
            "results/detectors/meso4/c23/seed0/predictions.parquet",
            PREDICTIONS,
        ),
    ],
)
def test_damaged_weights_are_known_by_what_was_made_with_them(
    root: Path, weights: str, table: str, schema: pa.Schema
) -> None:
    path, content = Path(weights), bytes(range(256)) * 4
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    rows = read_rows(table) if Path(table).is_file() else [{}]
    write_table([{**row, "checkpoint_sha256": sha256(content).hexdigest()} for row in rows], table, schema)
    assert find_repairs(Path("results")).damaged == []
    times = path.stat()
    path.write_bytes(content[:500] + b"?" + content[501:])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert [(problem.kind, problem.subject) for problem in check_dataset(Path("results/manifest"))] == [
        ("changed", weights)
    ]
    repair = find_repairs(Path("results"))
    assert repair.targets == [weights]
    assert remove_damaged(repair) == [path]
    path.write_bytes(content)
    assert finish_repair(find_repairs(Path("results"))) == ([weights], [])
    assert path.stat().st_mtime_ns == times.st_mtime_ns

    path.write_bytes(b"trained after the table, which the next run makes again")
    assert find_repairs(Path("results")).damaged == []


def test_rows_that_failed_for_a_damaged_input_are_made_again(root: Path) -> None:
    table = Path("results/animate/a.parquet")
    rows = read_rows(table)
    rows[0] |= {"status": "failed", "reason": "input_changed", "path": None}
    rows[1] |= {"status": "failed", "reason": "error", "path": None}
    write_table(rows, table, ANIMATED)
    (found,) = find_repairs(Path("results")).damaged
    assert (found.kind, found.table) == ("damaged_input", table)
    assert found.detail == "1 rows failed because a file of an earlier stage was damaged or replaced"


def test_nothing_is_removed_while_a_job_writes(root: Path) -> None:
    from filelock import FileLock

    Path("results/crop/source/a/s1.mp4").unlink()
    with (
        FileLock("results/crop/source/.b.parquet.lock"),
        pytest.raises(ConfigError, match=r"a job is writing results/crop/source/b.parquet"),
    ):
        remove_damaged(find_repairs(Path("results")))
    assert Path("results/crop/source/a.parquet").is_file()


def test_a_file_of_a_job_of_several_shards_is_made_again_by_that_job(root: Path) -> None:
    rows = read_rows("results/animate/a.parquet")
    write_table(rows, "results/gpu/animate/batch-0000.parquet", ANIMATED)
    Path(rows[0]["path"]).unlink()
    assert find_repairs(Path("results")).targets == ["results/gpu/animate/batch-0000.parquet"]
