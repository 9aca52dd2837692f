"""Import of trees made to do harm: names, paths and links that lead out of the tree or out of the output folder."""

from __future__ import annotations

import os
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_dataset import clip

from deepfakemnist.cli.main import main
from deepfakemnist.config.dataset import FrameSettings
from deepfakemnist.dataset.imports import import_dataset
from deepfakemnist.errors import ConfigError
from deepfakemnist.media.encode import write_working_clip
from deepfakemnist.tables.dataset_schemas import RELEASED_VIDEOS
from deepfakemnist.tables.files import read_rows, write_table

STILLS = FrameSettings(per_clip=1)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    write_working_clip(path, clip(1, frames=3, side=32), 25)
    return path.read_bytes()


@pytest.fixture
def victim(tmp_path: Path, video: bytes) -> Path:
    """Files of the user next to the tree and to OUT, with every suffix that an import writes or deletes."""
    folder = tmp_path / "victim"
    folder.mkdir()
    for name in ("keep.mp4", "keep.parquet", "keep.parquet.journal", ".keep.parquet.lock", ".keep.x1y2z3a4.part.mp4"):
        (folder / name).write_bytes(video)
    return folder


def release_of(root: Path, video: bytes, **changes: object) -> Path:
    """A release of one real and one fake; ``changes`` are values of the real's row."""
    for path in ("c23/real_dataset/selected_test/s.mp4", "c23/fake_dataset/nod/s@d.mp4"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(video)
    shared = {"quality": "c23", "split": "test", "person_id": "p", "source_id": "s"}
    real = {"video_id": "s", "label": 0, "action": "", "path": "c23/real_dataset/selected_test/s.mp4", **shared}
    fake = {"video_id": "s@d", "label": 1, "action": "nod", "path": "c23/fake_dataset/nod/s@d.mp4", **shared}
    write_table([{**real, **changes}, fake], root / "manifest/videos.parquet", RELEASED_VIDEOS)
    return root


def everything(folder: Path, out: Path) -> dict[str, bytes]:
    """Content of every file below a folder that is not below ``out``."""
    return {
        str(path): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_relative_to(out) and not path.is_symlink()
    }


def test_an_honest_release_is_imported(tmp_path: Path, video: bytes) -> None:
    out = import_dataset(release_of(tmp_path / "tree", video), tmp_path / "out", STILLS)
    assert {row["video_id"] for row in read_rows(out / "videos.parquet")} == {"s", "s@d"}


@pytest.mark.parametrize("column", ["video_id", "source_id", "person_id", "driver_id", "quality", "action"])
@pytest.mark.parametrize(
    "value",
    ["{victim}/keep", "../../victim/keep", "..", "a/b", "a\\b", "a\0b", "<img src=x>", "a\x1b[2Jb", "x" * 300, "s.",
     "nul", "X.parquet", "a@b@c"],
)  # fmt: skip
def test_hostile_names_stop_the_import(tmp_path: Path, victim: Path, video: bytes, column: str, value: str) -> None:
    tree = release_of(tmp_path / "tree", video, **{column: value.format(victim=victim)})
    before = everything(tmp_path, tmp_path / "out")
    with pytest.raises(ConfigError, match=rf"row 1, {column} '.*(is not allowed|characters)") as error:
        import_dataset(tree, tmp_path / "out", STILLS)
    assert "\x1b" not in str(error.value) and "\0" not in str(error.value)
    assert everything(tmp_path, tmp_path / "out") == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": "/etc/passwd"}, "path '/etc/passwd': must be relative to the release"),
        ({"path": "../victim/keep.mp4"}, "must be relative to the release"),
        ({"path": "c23/../../victim/keep.mp4"}, "must be relative to the release"),
        ({"path": "c23\\s.mp4"}, "must be relative to the release"),
        ({"path": "C:/s.mp4"}, "must be relative to the release"),
        ({"path": "c23//s.mp4"}, "must be relative to the release"),
        ({"path": "a\0.mp4"}, r"path 'a\\x00.mp4': control characters"),
        ({"path": "x/" * 600}, "a path of 1 to 1000 characters"),
        ({"path": "x" * 300}, "more than 255 bytes"),
        ({"path": None}, "path None: a path of"),
        ({"split": "../train"}, "split '../train': allowed are 'train', 'val', 'test'"),
        ({"split": None}, "split None: allowed are"),
        ({"label": 7}, "label 7: allowed are 0, 1"),
        ({"licence": "CC0\x1b]0;x\x07"}, "licence .*: control characters"),
        ({"animator": "x" * 100_001}, "animator .*: has 100001 characters"),
        ({"video_id": "s@d"}, "'s@d' at 'c23' is in row 1 already"),
        ({"video_id": "S@d"}, r"row 2: video_id 's@d' of 's@d' is 'S@d' in row 1"),
    ],
)
def test_hostile_paths_and_values_stop_the_import(
    tmp_path: Path, video: bytes, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        import_dataset(release_of(tmp_path / "tree", video, **changes), tmp_path / "out", STILLS)
    assert not (tmp_path / "out").exists()


def test_tables_that_are_no_manifest_are_named(tmp_path: Path, video: bytes) -> None:
    tree = release_of(tmp_path / "tree", video)
    table = tree / "manifest/videos.parquet"
    good = pq.read_table(table)
    text = pa.array(["zero", "one"])
    for broken, message in (
        (good.drop_columns(["split"]), r"columns \['split'\] are missing"),
        (good.set_column(1, "label", text), "column label is not int8"),
        (good.append_column("video_id", text), "cannot be read as a table of videos"),
        (good.set_column(0, "video_id", pa.array([b"\xff", b"b"]).view(pa.string())), "video_id|UTF8|utf8"),
    ):
        pq.write_table(broken, table)
        with pytest.raises(ConfigError, match=message):
            import_dataset(tree, tmp_path / "out", STILLS)
    table.write_bytes(table.read_bytes()[:-20])
    with pytest.raises(ConfigError, match="cut short or overwritten"):
        import_dataset(tree, tmp_path / "out", STILLS)


def test_links_out_of_the_tree_are_not_followed(tmp_path: Path, victim: Path, video: bytes) -> None:
    tree = release_of(tmp_path / "tree", video)
    real = tree / "c23/real_dataset/selected_test/s.mp4"
    real.unlink()
    real.symlink_to(victim / "keep.mp4")
    rows = {
        row["video_id"]: row for row in read_rows(import_dataset(tree, tmp_path / "out", STILLS) / "ledger.parquet")
    }
    assert (rows["s"]["status"], rows["s"]["reason"]) == ("rejected", "outside_the_tree")
    assert f"links to {victim}/keep.mp4, outside of the dataset" in rows["s"]["detail"]
    assert rows["s@d"]["status"] == "ok"


@pytest.mark.parametrize("kind", ["loop", "fifo", "folder"])
def test_what_is_no_file_is_a_row(tmp_path: Path, video: bytes, kind: str) -> None:
    fake = release_of(tmp_path / "tree", video) / "c23/fake_dataset/nod/s@d.mp4"
    fake.unlink()
    if kind == "loop":
        fake.symlink_to(fake)
    elif kind == "fifo":
        os.mkfifo(fake)
    else:
        fake.mkdir()
    out = import_dataset(tmp_path / "tree", tmp_path / "out", STILLS)
    (row,) = [row for row in read_rows(out / "ledger.parquet") if row["status"] != "ok"]
    assert (row["video_id"], row["status"]) == ("s@d", "failed")
    assert "s@d.mp4" in row["detail"], row["detail"]


def test_a_linked_folder_and_a_linked_tree(tmp_path: Path, video: bytes) -> None:
    """The tree itself may be a link, as on a shared disk; a folder in it must not lead out."""
    videos = tmp_path / "disk/real_dataset/selected_test"
    videos.mkdir(parents=True)
    (videos / "s.mp4").write_bytes(video)
    (tmp_path / "tree").symlink_to(tmp_path / "disk")
    assert len(read_rows(import_dataset(tmp_path / "tree", tmp_path / "out", STILLS) / "videos.parquet")) == 1
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/t.mp4").write_bytes(video)
    (tmp_path / "disk/real_dataset/selected_val").symlink_to(tmp_path / "elsewhere")
    out = import_dataset(tmp_path / "tree", tmp_path / "again", STILLS)
    assert {row["reason"] for row in read_rows(out / "ledger.parquet")} == {"", "outside_the_tree"}


@pytest.mark.parametrize(
    ("where", "link"),
    [
        ("frames", "symbolic"),
        ("manifest", "symbolic"),
        ("frames/real", "symbolic"),
        ("frames/.real.parquet.lock", "symbolic"),
        ("frames/.real.parquet.lock", "hard"),
        ("frames/real.parquet.journal", "hard"),
    ],
)
def test_links_in_out_are_refused(tmp_path: Path, victim: Path, video: bytes, where: str, link: str) -> None:
    """An archive unpacked in OUT may hold links to whatever is to be overwritten."""
    out = tmp_path / "out"
    (out / where).parent.mkdir(parents=True, exist_ok=True)
    if link == "hard":
        os.link(victim / ".keep.parquet.lock", out / where)
    else:
        (out / where).symlink_to(victim / "keep.mp4" if where.endswith("lock") else victim)
    before = everything(tmp_path, out)
    with pytest.raises(ConfigError, match="remove it or give a new folder"):
        import_dataset(release_of(tmp_path / "tree", video), out, STILLS)
    assert {path: data for path, data in everything(tmp_path, out).items() if "/tree/" not in path} == before


def test_out_is_not_the_tree(tmp_path: Path, video: bytes) -> None:
    tree = release_of(tmp_path / "tree", video)
    with pytest.raises(ConfigError, match="is the dataset itself"):
        import_dataset(tree, tmp_path / "victim/../tree", STILLS)


def test_archives_are_to_be_unpacked_and_what_comes_out_is_checked(tmp_path: Path, victim: Path, video: bytes) -> None:
    tree = release_of(tmp_path / "tree", video)
    (tree / "c23/fake_dataset/nod/s@d.mp4").unlink()
    (tree / "c23/fake_dataset/nod/s@d.mp4").symlink_to(victim / "keep.mp4")
    with tarfile.open(tmp_path / "tree.tar", "w") as archive:
        archive.add(tree, "tree")
    with zipfile.ZipFile(tmp_path / "tree.zip", "w") as zipped:
        zipped.writestr("../victim/keep.mp4", b"overwritten")
    for name in ("tree.tar", "tree.zip"):
        with pytest.raises(ConfigError, match=f"{name}: is a file; unpack an archive first"):
            import_dataset(tmp_path / name, tmp_path / "out", STILLS)
    with tarfile.open(tmp_path / "tree.tar") as archive:
        archive.extractall(tmp_path / "unpacked", filter="fully_trusted")
    out = import_dataset(tmp_path / "unpacked/tree", tmp_path / "out", STILLS)
    assert [row["reason"] for row in read_rows(out / "ledger.parquet")] == ["", "outside_the_tree"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("fake_dataset/<b>/s@d.mp4", "is not allowed"),
        ("fake_dataset/a b/1.mp4", "is not allowed"),
        ("real_dataset/selected_test/a;b.mp4", "is not allowed"),
        ("original_sequences/x/c 23/videos/000.mp4", "is not allowed"),
        ("manipulated_sequences/<b>/c23/videos/000_001.mp4", "is not allowed"),
        ("original_sequences/x/c23/videos/٠٠٠.mp4", "expected names like 000.mp4"),
    ],
)
def test_hostile_names_of_other_layouts_stop_the_import(tmp_path: Path, video: bytes, path: str, message: str) -> None:
    (tmp_path / "tree" / path).parent.mkdir(parents=True)
    (tmp_path / "tree" / path).write_bytes(video)
    with pytest.raises(ConfigError, match=message):
        import_dataset(tmp_path / "tree", tmp_path / "out", STILLS)


def test_names_that_are_no_text_and_repeated_ids_are_rows(
    tmp_path: Path, video: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    names = (
        b"a\x1b[2J/c23/videos/000.mp4",
        b"\xff/c23/videos/001.mp4",
        b"b/c23/videos/002.mp4",
        b"c/c23/videos/002.mp4",
    )
    for name in names:
        path = tmp_path / "tree/original_sequences" / os.fsdecode(name)
        path.parent.mkdir(parents=True)
        path.write_bytes(video)
    (tmp_path / "tree/splits").mkdir()
    assert main(["import", str(tmp_path / "tree"), str(tmp_path / "out"), "--frames", "1"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("rejected: bad_name") == 2 and "\x1b" not in printed and "\\udcff" in printed
    assert "rejected: duplicate_id" in printed and "1 videos are in" in printed
    (tmp_path / "tree/splits/train.json").write_text("[" * 100_000)
    with pytest.raises(ConfigError, match="is not a JSON list of pairs"):
        import_dataset(tmp_path / "tree", tmp_path / "out", STILLS)


def test_messages_hold_nothing_that_steers_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", str(tmp_path / "\x1b[2Jtree"), str(tmp_path / "out")]) == 1
    printed = capsys.readouterr().err
    assert "\\x1b[2Jtree: none of the known layouts" in printed and "\x1b" not in printed
