"""Packed media: the same files give the same tar, and nothing but expected files comes out of one."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from deepfakemnist.errors import ConfigError
from deepfakemnist.tables.files import write_table
from deepfakemnist.tables.schemas import CROPPED
from deepfakemnist.workflow.packed_media import archive_of, pack, pack_table, unpack


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: str, content: bytes) -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(content)
    return path


def anything(name: str) -> bool:
    return True


def test_files_come_back_under_their_paths() -> None:
    names = [write("results/crop/s/b#1.mp4", b"two"), write("videos/ein Vidéo ‘名’.mp4", b"one")]
    pack(names, Path("results/s.tar"))
    for name in names:
        Path(name).unlink()
    unpack(Path("results/s.tar"), anything)
    assert [Path(name).read_bytes() for name in names] == [b"two", b"one"]


def test_equal_files_give_equal_archives_whatever_their_order_age_and_mode() -> None:
    names = [write("results/a", b"one"), write("results/b", b"two")]
    pack(names, Path("first.tar"))
    os.utime(names[0], (1, 1))
    Path(names[1]).chmod(0o600)
    pack([*reversed(names), names[0]], Path("second.tar"))
    assert Path("first.tar").read_bytes() == Path("second.tar").read_bytes()


def test_an_equal_file_stays_and_another_is_replaced() -> None:
    names = [write("results/a", b"one"), write("results/b", b"two")]
    pack(names, Path("s.tar"))
    before = Path(names[0]).stat()
    write(names[1], b"owt")  # as long
    unpack(Path("s.tar"), anything)
    assert Path(names[0]).stat().st_ino == before.st_ino and Path(names[0]).stat().st_mtime_ns == before.st_mtime_ns
    assert Path(names[1]).read_bytes() == b"two"


def test_a_table_is_packed_without_what_failed_and_without_strangers() -> None:
    write("results/crop/source/s/a.mp4", b"crop")
    write("results/crop/source/s/old.mp4", b"of an earlier run")
    table = Path("results/crop/source/s.parquet")
    rows = [
        {"video_id": "a", "status": "ok", "reason": "", "detail": "", "path": "results/crop/source/s/a.mp4"},
        {"video_id": "b", "status": "rejected", "reason": "no_face", "detail": "", "path": None},
    ]
    write_table([{**dict.fromkeys(CROPPED.names), **row} for row in rows], table, CROPPED)
    pack_table(table, table.with_suffix(".tar"))
    with tarfile.open(table.with_suffix(".tar")) as tar:
        assert tar.getnames() == ["results/crop/source/s/a.mp4"]


@pytest.mark.parametrize("path", ["/data/a.mp4", "../a.mp4"])
def test_files_elsewhere_cannot_be_packed(path: str) -> None:
    with pytest.raises(ConfigError, match=f"{path} is not below the folder in which the run works"):
        pack([path], Path("s.tar"))


def hostile(name: str, kind: bytes = tarfile.REGTYPE, to: str = "") -> Path:
    with tarfile.open("hostile.tar", "w") as tar:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, to
        member.size = 3 if kind == tarfile.REGTYPE else 0
        tar.addfile(member, io.BytesIO(b"bad"))
    return Path("hostile.tar")


@pytest.mark.parametrize(
    ("name", "kind", "to"),
    [
        ("/tmp/evil", tarfile.REGTYPE, ""),
        ("results/../../evil", tarfile.REGTYPE, ""),
        ("workflow/scripts/crop.py", tarfile.REGTYPE, ""),
        ("results/link", tarfile.SYMTYPE, "/etc/passwd"),
        ("results/link", tarfile.LNKTYPE, "../evil"),
        ("results/pipe", tarfile.FIFOTYPE, ""),
    ],
)
def test_what_does_not_belong_there_is_refused(folder: Path, name: str, kind: bytes, to: str) -> None:
    archive = hostile(name, kind, to)
    with pytest.raises(ConfigError, match="does not belong there"):
        unpack(archive, lambda name: name.startswith("results/"))
    assert list(folder.iterdir()) == [folder / "hostile.tar"]


@pytest.mark.parametrize("size", [0, 700, 1100])
def test_a_damaged_archive_is_named(size: int) -> None:
    pack([write("results/a", b"x" * 2000)], Path("s.tar"))
    Path("results/a").unlink()
    Path("s.tar").write_bytes(Path("s.tar").read_bytes()[:size])
    with pytest.raises(ConfigError, match=r"s\.tar is damaged .* delete it, here and in its bucket"):
        unpack(Path("s.tar"), anything)
    assert not Path("results/a").exists()


@pytest.mark.parametrize(
    ("table", "archive"),
    [
        ("<results>/compress/fake/s@2.parquet", "<results>/compress/fake/s@2.tar"),
        ("<results>/crop/source/s.parquet", "<results>/candidates/source/s.tar"),
        ("<results>/select/s@2.parquet", "<results>/gpu/animate/job-s@2.tar"),
        ("<results>/extract_motion/s.parquet", "<results>/gpu/extract_motion/job-s.tar"),
    ],
)
def test_the_archive_is_that_of_the_stage_that_made_the_files(table: str, archive: str) -> None:
    assert archive_of(table, "candidates", lambda stage, shard: f"gpu/{stage}/job-{shard}") == archive


def test_a_shard_that_was_drawn_again_has_no_archive() -> None:
    assert archive_of("<results>/animate/s@2.parquet", "crop", lambda stage, shard: None) is None
