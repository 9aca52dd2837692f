"""Reuse of finished videos by jobs that run again, of the same shard or of one that split or merged."""

import hashlib
import json
import os
import sys
from pathlib import Path
from zlib import crc32

import pyarrow as pa
import pytest

from deepfakemnist.errors import Failed, Rejected
from deepfakemnist.tables.files import atomic_path, read_rows
from deepfakemnist.tables.journal import Entry, Journal
from deepfakemnist.tables.shards import run_shard

SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("video_id", "path", "person_id", "sha256", "status", "reason", "detail")]
)


class Stage:
    """A stage that copies the first letters of a hash to a file; Snakemake's part is played by ``again``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.worked: list[str] = []
        self.hashes: dict[str, str] = {}
        self.people: dict[str, str] = {}

    def run(self, names, shard="shard-0", code="v1"):
        """Run the job of a shard anew, without its table; return the videos that were processed."""
        table = self.folder / f"{shard}.parquet"
        table.unlink(missing_ok=True)
        self.worked = []
        rows = [
            {
                "video_id": name, "path": f"in/{name}", "person_id": self.people.get(name, "p"),
                "sha256": self.hashes.get(name, hashlib.sha256(name.encode()).hexdigest()),
            }
            for name in names
        ]  # fmt: skip

        def work(row):
            self.worked.append(row["video_id"])
            if row["video_id"].startswith("bad"):
                raise Failed("truncated")
            if row["video_id"].startswith("no"):
                raise Rejected("no_face")
            path = self.folder / shard / f"{row['video_id']}.txt"
            with atomic_path(path) as part:
                part.write_text(row["sha256"][:8])
            return {"path": str(path)}

        run_shard(rows, table, SCHEMA, work, code=code, depends_on=("video_id", "sha256"))
        return self.worked

    def rows(self, shard="shard-0"):
        return {row["video_id"]: row for row in read_rows(self.folder / f"{shard}.parquet")}


@pytest.fixture
def stage(tmp_path):
    return Stage(tmp_path)


def test_only_what_has_changed_is_made_again(stage):
    assert stage.run(["a", "b", "no1", "bad1"]) == ["a", "b", "no1", "bad1"]
    before = stage.rows()
    assert stage.run(["b", "a", "no1", "bad1"]) == ["bad1"], "a rejection stands, a failure is tried again"
    assert stage.rows() == before
    stage.hashes["b"] = "f" * 64
    assert stage.run(["a", "b", "c", "no1"]) == ["b", "c"]
    assert Path(stage.rows()["b"]["path"]).read_text() == "f" * 8
    assert stage.run(["a", "c"], code="v2") == ["a", "c"]


def test_columns_that_decide_nothing_are_refreshed_without_work(stage):
    stage.run(["a", "no1"])
    stage.people = {"a": "someone else", "no1": "another"}
    assert stage.run(["a", "no1"]) == []
    rows = stage.rows()
    assert (rows["a"]["person_id"], rows["no1"]["person_id"]) == ("someone else", "another")
    assert rows["a"]["path"].endswith("shard-0/a.txt"), "the path of the stage's own file, not of its input"
    assert rows["no1"]["path"] is None


@pytest.mark.parametrize("damage", ("deleted", "cut", "longer"))
def test_a_file_that_is_gone_or_of_another_size_is_made_again(stage, damage):
    stage.run(["a", "b"])
    path = Path(stage.rows()["a"]["path"])
    whole = path.read_text()
    path.write_text(whole[:-1] if damage == "cut" else whole + "x")
    if damage == "deleted":
        path.unlink()
    assert stage.run(["a", "b"]) == ["a"]
    assert path.read_text() == whole


def test_a_journal_does_not_grow(stage):
    for number in range(5):
        stage.hashes["a"] = f"{number:064d}"
        stage.run(["a", "b", f"once{number}"])
    assert sorted(Journal.of_table(stage.folder / "shard-0.parquet").read()) == ["a", "b", "once4"]
    assert len((stage.folder / "shard-0.parquet.journal").read_text().splitlines()) == 3


def test_a_setting_changed_there_and_back_never_passes_for_the_first(stage, monkeypatch):
    """The job dies after a file was replaced and before its entry was written; all files are of one size."""
    stage.run(["a", "b"])

    def dies(journal, entry):
        raise KeyboardInterrupt

    first, stage.hashes = dict(stage.hashes), {"a": "e" * 64}
    monkeypatch.setattr(Journal, "append", dies)
    with pytest.raises(KeyboardInterrupt):
        stage.run(["a", "b"])
    monkeypatch.undo()
    stage.hashes = first
    assert stage.run(["a", "b"]) == ["a"]
    assert Path(stage.rows()["a"]["path"]).read_text() != "e" * 8


@pytest.mark.parametrize("shards", (2, 100), ids=("small stage", "large stage"))
def test_videos_of_a_shard_that_splits_or_merges_are_not_made_again(stage, shards):
    for number in range(shards):
        stage.run([f"other{number}"], shard=f"shard-1{number:03d}")
    stage.run(["a", "b", "c"], shard="shard-0")
    assert stage.run(["a", "b"], shard="shard-00") == []
    assert stage.run(["c", "d"], shard="shard-01") == ["d"]
    assert Path(stage.rows("shard-00")["a"]["path"]) == stage.folder / "shard-0/a.txt", "files stay where they are"
    for name in ("shard-0.parquet", "shard-0.parquet.journal"):
        (stage.folder / name).unlink()  # as the removal of orphans does
    assert stage.run(["a", "b", "c", "d"], shard="shard-0") == []
    assert Path(stage.rows("shard-0")["d"]["path"]) == stage.folder / "shard-01/d.txt"
    assert stage.run(["a", "b"], shard="shard-0@2") == [], "another round"
    stage.run(["z"], shard="z")
    assert stage.run(["z", "a"], shard="shard-0") == [], "a shard of one video"


def test_the_journal_of_another_shard_is_never_written(stage):
    stage.run(["a", "b"], shard="shard-0")
    other = stage.folder / "shard-0.parquet.journal"
    other.write_bytes(cut := other.read_bytes()[:-5])
    assert stage.run(["a", "b"], shard="shard-00") == ["b"]
    assert other.read_bytes() == cut


def test_a_journal_of_an_earlier_version_is_replaced(stage):
    (stage.folder / "shard-0.parquet.journal").write_text('{"key": "a", "mark": "0", "rows": []}\n')
    assert stage.run(["a"]) == ["a"]
    assert list(Journal.of_table(stage.folder / "shard-0.parquet").read()) == ["a"]


def test_an_altered_byte_never_becomes_a_row(tmp_path):
    journal = Journal(tmp_path / "a.parquet.journal")
    entries = {name: Entry(name, "mark", [{"face_px": 123.5, "status": "rejected"}]) for name in ("v1", "v2", "v3")}
    for entry in entries.values():
        journal.append(entry)
    assert journal.read() == entries
    content = journal.path.read_bytes()
    for at in range(len(content)):
        journal.path.write_bytes(bytes([*content[:at], content[at] ^ 1, *content[at + 1 :]]))
        found = journal.read()
        assert found.items() <= entries.items(), at
        assert len(found) < 3, at


def test_halves_of_a_range_of_hashes_are_related_in_a_large_stage(stage):
    """shard-4000 is cut into shard-4000 and shard-6000, this into shard-6000 and shard-7000."""
    for number in range(100):
        stage.run([f"other{number}"], shard=f"shard-8{number:03d}")
    stage.run(["a", "b"], shard="shard-4000")
    assert stage.run(["a"], shard="shard-c000") == ["a"], "no part of that range"
    stage.hashes["b"] = "f" * 64
    assert stage.run(["a"], shard="shard-7000") == []
    assert stage.run(["b"], shard="shard-6000") == ["b"]
    assert stage.run(["a", "b"], shard="shard-4000") == [], "and back"
    assert stage.run(["a"], shard="shard-6000+mesh@2") == [], "also of another animator and round"


@pytest.mark.parametrize(
    "line",
    ["", "1", "null", "[]", "{}", '{"a": 1}', "[" * 100_000, '"text"', "{", "\x00\x00", "\ufeff{}", "NaN", "1e400"],
)
def test_lines_that_are_no_entries_are_left_out_and_counted(stage, caplog, line):
    stage.run(["a", "b", "c"])
    journal = stage.folder / "shard-0.parquet.journal"
    first, *others = journal.read_text().splitlines()
    journal.write_text("\n".join([first, line, line, *others]) + "\n")
    assert stage.run(["a", "b", "c"]) == [], "every entry counts, before the damage and after it"
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warning.startswith(f"{journal}: 2 of 5 lines are no entries, the first on line 2; their videos")
    assert len(Journal(journal).read()) == 3 == len(journal.read_text().splitlines()), "and the lines are gone"


@pytest.mark.parametrize(
    "change",
    [
        {"key": 1}, {"key": ["a"]}, {"key": None}, {"mark": None}, {"made": {}}, {"made": None}, {"made": [1]},
        {"made": [{}]}, {"made": [{"status": []}]}, {"made": [{"status": "ok", "path": 3}]}, {"files": []},
        {"files": {"a": "1"}}, {"files": {"a": None}}, {"files": {"a": True}}, {"more": 1},
    ],
    ids=str,
)  # fmt: skip
def test_an_entry_of_other_types_is_no_entry(stage, change):
    stage.run(["a", "b"])
    journal = Journal.of_table(stage.folder / "shard-0.parquet")
    whole = journal.path.read_text().splitlines()
    content = {**json.loads(whole[0]), **change}
    del content["crc32"]
    text = json.dumps(content)
    changed = text[:-1] + f', "crc32": "{crc32(text.encode()):08x}"' + "}"
    journal.path.write_text(f"{changed}\n{whole[1]}\n")
    assert list(journal.read()) == ["b"]
    assert stage.run(["a", "b"]) == ["a"]


@pytest.mark.skipif(sys.platform != "linux", reason="names of open files come from /proc")
def test_a_file_and_its_name_are_on_the_disk_before_its_entry(stage, monkeypatch):
    """A power cut takes away what was not flushed; only the order of the calls can be tested."""
    events = []
    sync, replace = os.fsync, Path.replace

    def recorded(handle):
        events.append(("sync", Path(f"/proc/self/fd/{handle}").readlink()))
        sync(handle)

    def renamed(self, target):
        events.append(("rename", Path(target)))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", recorded)
    monkeypatch.setattr(Path, "replace", renamed)
    stage.run(["a", "b"])
    folder, journal, table = stage.folder / "shard-0", stage.folder / "shard-0.parquet.journal", "shard-0.parquet"
    for name in ("a", "b"):
        at = events.index(("rename", folder / f"{name}.txt"))
        kind, part = events[at - 1]
        assert kind == "sync" and part.name.startswith(f".{name}.") and part.parent == folder, "content, then name"
        assert events[at + 1] == ("sync", folder)
        assert events[at + 2] == ("sync", journal), "then the entry"
    assert ("sync", stage.folder) in events[: events.index(("sync", folder))], "the new folder is an entry, too"
    at = events.index(("rename", stage.folder / table))
    assert events[at - 1][1].name.startswith(".shard-0.") and events[at + 1] == ("sync", stage.folder)
    kept = events.index(("rename", journal))
    assert kept > at, "the journal is shortened once the table stands"
