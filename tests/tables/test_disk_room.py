"""Space that a run keeps free: writers stop before the disk is full, except with what was paid for."""

import errno
import shutil
from pathlib import Path

import pytest

from deepfakemnist.liveness.files import read_json, write_json
from deepfakemnist.machine_errors import MachineError
from deepfakemnist.tables.disk_room import free_bytes, keep_free
from deepfakemnist.tables.files import atomic_path
from deepfakemnist.tables.schemas import INGESTED
from deepfakemnist.tables.shards import run_shard


def test_a_file_is_not_written_where_less_is_free_than_the_run_keeps(tmp_path):
    with (
        keep_free(2 * free_bytes(tmp_path)),
        pytest.raises(MachineError, match=r"stopped before the disk is full: .* GB are free in .*gc --dry-run"),
        atomic_path(tmp_path / "a.txt") as part,
    ):
        part.write_text("a")
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_written_while_more_is_free(tmp_path):
    with keep_free(1), atomic_path(tmp_path / "a.txt") as part:
        part.write_text("a")
    with atomic_path(tmp_path / "b.txt") as part:
        part.write_text("b")
    assert {path.name for path in tmp_path.iterdir()} == {"a.txt", "b.txt"}


def test_a_shard_stops_at_the_video_that_would_go_into_the_reserve_and_goes_on_from_there(tmp_path):
    rows = [{"video_id": name} for name in "abc"]
    table = tmp_path / "stage/one.parquet"
    reserve = {"a": 0, "b": 2 * free_bytes(tmp_path), "c": 0}
    made = []

    def work(row):
        with keep_free(reserve[row["video_id"]]), atomic_path(tmp_path / "files" / row["video_id"]) as part:
            part.write_text("whole")
        made.append(row["video_id"])
        return {"path": str(tmp_path / "files" / row["video_id"])}

    with pytest.raises(MachineError, match="stopped at b: stopped before the disk is full") as stopped:
        run_shard(rows, table, INGESTED, work, code="1")
    assert stopped.value.errno == errno.ENOSPC and not table.exists()
    reserve["b"] = 0
    assert run_shard(rows, table, INGESTED, work, code="1").resumed == 1
    assert made == ["a", "b", "c"]


def test_paid_answers_are_written_into_the_reserve(tmp_path):
    with keep_free(2 * free_bytes(tmp_path)):
        write_json(tmp_path / "baidu/aa/answer.json", {"live": True})
    assert read_json(tmp_path / "baidu/aa/answer.json") == {"live": True}


def test_free_space_is_that_of_the_file_system_of_a_folder_to_be_made():
    folder = Path("/proc") if not Path("/dev/shm").is_dir() else Path("/dev/shm")
    total = shutil.disk_usage(folder).total
    assert free_bytes(folder / "not/yet/made") <= total
