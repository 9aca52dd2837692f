"""Integrity check: every kind of damage is found, and nothing in an intact dataset."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from small_dataset import make_dataset

from deepfakemnist.cli.manifest import add_arguments
from deepfakemnist.config.dataset import MarkSettings
from deepfakemnist.dataset.check import check_dataset
from deepfakemnist.errors import ConfigError
from deepfakemnist.media.boxes import set_comment
from deepfakemnist.media.marks import mark_synthetic
from deepfakemnist.tables.dataset_schemas import FRAME_INDEX, VIDEOS
from deepfakemnist.tables.files import read_rows, write_table
from deepfakemnist.tables.schemas import Row


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("intact")
    make_dataset(root)
    return root


@pytest.fixture
def root(intact: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(intact / "results", tmp_path / "run/results")).parent


def videos(root: Path, change: Callable[[list[Row]], object]) -> None:
    rows = read_rows(root / "results/manifest/videos.parquet")
    change(rows)
    write_table(rows, root / "results/manifest/videos.parquet", VIDEOS)


def frames(root: Path, change: Callable[[list[Row]], object]) -> None:
    rows = read_rows(root / "results/manifest/frames.parquet")
    change(rows)
    write_table(rows, root / "results/manifest/frames.parquet", FRAME_INDEX)


def file(root: Path, name: str = "s1", quality: str = "c23", kind: str = "real") -> Path:
    return root / f"results/compress/{kind}/a/{quality}/{name}.mp4"


def flip(path: Path, at: int = -60) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def rehash(root: Path, path: Path) -> None:
    """Update the row to the damaged file, so that only its content can reveal the damage."""
    import hashlib

    def change(rows: list[Row]) -> None:
        for row in rows:
            if (root / row["path"]) == path:
                row["sha256"], row["bytes"] = hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size

    videos(root, change)


def damage_pixels(root: Path) -> None:
    flip(file(root))
    rehash(root, file(root))


def mark_a_real(root: Path) -> None:
    mark_synthetic(file(root), MarkSettings(c2pa=False), "fomm")
    rehash(root, file(root))


def unmark_a_fake(root: Path) -> None:
    path = file(root, "s1@nod-d1", kind="fake")
    set_comment(path, "just a video")
    rehash(root, path)


def break_a_shard(root: Path) -> None:
    path = root / "results/frames/real/a.parquet"
    path.write_bytes(path.read_bytes()[:-40])


DAMAGE: dict[str, tuple[Callable[[Path], object], set[str]]] = {
    "file deleted": (lambda root: file(root).unlink(), {"missing"}),
    "file truncated": (lambda root: file(root).write_bytes(file(root).read_bytes()[:-9]), {"truncated"}),
    "byte flipped": (lambda root: flip(file(root)), {"changed"}),
    "another encoder setting": (
        lambda root: videos(root, lambda rows: rows[0].update(encoder='{"crf": 9}')),
        {"mixed_settings"},
    ),
    "weights of another training": (
        lambda root: videos(root, lambda rows: rows[-1].update(animator="fomm", checkpoint_sha256="0" * 64)),
        {"mixed_settings"},
    ),
    "bytes appended": (lambda root: file(root).write_bytes(file(root).read_bytes() + b"x"), {"changed"}),
    "video added": (lambda root: shutil.copy(file(root), file(root, "new")), {"extra"}),
    "pixels damaged, rows agree": (damage_pixels, {"other_pixels"}),
    "duplicate video": (
        lambda root: videos(root, lambda rows: rows[2].update(pixels_sha256=rows[0]["pixels_sha256"])),
        {"duplicate_pixels"},
    ),
    "person in two splits": (
        lambda root: videos(root, lambda rows: [row.update(person_id="p0") for row in rows[-2:]]),
        {"split_leak"},
    ),
    "fake in another split than its real": (
        lambda root: videos(root, lambda rows: [row.update(split="val") for row in rows if row["video_id"] == "s3"]),
        {"pair_apart", "split_leak"},
    ),
    "real missing from the manifest": (
        lambda root: videos(root, lambda rows: rows.__delitem__(slice(0, 2))),
        {"orphan_pair", "stray_frame"},
    ),
    "duplicate row": (lambda root: videos(root, lambda rows: rows.append(dict(rows[5]))), {"repeated_row"}),
    "frame index off by one": (
        lambda root: frames(root, lambda rows: rows[4].update(shard_row=rows[4]["shard_row"] + 1)),
        {"lost_frame"},
    ),
    "frames without a video": (
        lambda root: frames(root, lambda rows: rows[-1].update(video_id="ghost")), {"stray_frame", "lost_frame"}
    ),
    "frame shard deleted": (lambda root: (root / "results/frames/fake/a.parquet").unlink(), {"missing"}),
    "frame shard truncated": (break_a_shard, {"damaged_table"}),
    "label flipped": (lambda root: videos(root, lambda rows: rows[0].update(synthetic=True)), {"wrong_label"}),
    "real marked as synthetic": (mark_a_real, {"wrong_marks"}),
    "fake without its comment": (unmark_a_fake, {"wrong_marks"}),
}  # fmt: skip


def test_an_intact_dataset_has_no_problem(intact: Path) -> None:
    assert check_dataset(intact / "results/manifest", intact, jobs=2, decode=True) == []


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_found_and_named(root: Path, name: str) -> None:
    do, kinds = DAMAGE[name]
    do(root)
    problems = check_dataset(root / "results/manifest", root, decode=name.startswith("pixels"))
    assert {problem.kind for problem in problems} == kinds


def test_messages_name_the_file_and_both_sizes(root: Path) -> None:
    size = file(root).stat().st_size
    file(root).write_bytes(file(root).read_bytes()[:100])
    (problem,) = check_dataset(root / "results/manifest", root)
    assert str(problem) == f"{file(root)}: has 100 bytes, its row says {size}"


def test_command_prints_every_problem_and_a_summary(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import argparse

    parser = argparse.ArgumentParser()
    add_arguments(parser)
    arguments = ["check", "--root", str(root), str(root / "results/manifest")]
    parsed = parser.parse_args(arguments)
    assert parsed.run(parsed) == 0
    assert "16 videos and 48 frames match the manifest" in capsys.readouterr().out
    file(root).unlink()
    flip(file(root, "s2"))
    assert parsed.run(parsed) == 1
    shown = capsys.readouterr().out
    assert "missing" in shown and "s1.mp4: is missing (row s1, c23)" in shown
    assert "2 problems: 1 changed, 1 missing" in shown


def test_a_folder_without_a_manifest_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="contains no videos.parquet; give the folder of a manifest"):
        check_dataset(tmp_path)
