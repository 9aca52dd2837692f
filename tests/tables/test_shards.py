import errno
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pyarrow as pa
import pytest
from filelock import FileLock

from deepfakemnist.config.dataset import FrameSettings
from deepfakemnist.errors import Failed, Rejected, TooManyFailures
from deepfakemnist.machine_errors import MachineError
from deepfakemnist.tables.files import atomic_path, read_rows
from deepfakemnist.tables.shards import run_shard

SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("video_id", "path", "person_id", "status", "reason", "detail", "code")]
)


def rows(*names):
    return [{"video_id": name, "person_id": f"p-{name}", "path": f"input-of-{name}"} for name in names]


def run(tmp_path, work, names=("a", "b", "c"), **options):
    return run_shard(rows(*names), tmp_path / "shard.parquet", SCHEMA, work, code=options.pop("code", "v1"), **options)


def by_name(tmp_path):
    return {row["video_id"]: row for row in read_rows(tmp_path / "shard.parquet")}


def test_every_video_ends_as_a_row(tmp_path):
    def work(row):
        match row["video_id"]:
            case "a":
                return {"path": "made"}
            case "b":
                raise Rejected("no_face", "0 of 5 frames")
            case "c":
                raise Failed("truncated", "3 of 9 frames")
            case _:
                raise KeyError("surprise")

    tally = run(tmp_path, work, "abcd")
    assert (tally.ok, tally.rejected, tally.failed) == (1, 1, 2)
    found = by_name(tmp_path)
    assert found["a"] == {"video_id": "a", "person_id": "p-a", "path": "made", "code": "v1", "status": "ok",
                          "reason": "", "detail": ""}  # fmt: skip
    assert (found["b"]["status"], found["b"]["reason"], found["b"]["detail"]) == (
        "rejected",
        "no_face",
        "0 of 5 frames",
    )
    assert found["b"]["path"] is None, "the path of the previous stage would pass for this stage's file"
    assert (found["c"]["status"], found["c"]["reason"]) == ("failed", "truncated")
    assert (found["d"]["reason"], found["d"]["detail"]) == ("error", "KeyError: 'surprise'")


def test_one_video_may_give_several_rows(tmp_path):
    run(tmp_path, lambda row: [{"detail": "raw"}, {"detail": "c23"}], "ab")
    assert [(row["video_id"], row["detail"]) for row in read_rows(tmp_path / "shard.parquet")] == [
        ("a", "raw"), ("a", "c23"), ("b", "raw"), ("b", "c23"),
    ]  # fmt: skip


def _work_that_stops_at_c(folder):
    def work(row):
        (folder / "calls").open("a").write(row["video_id"])
        path = folder / f"{row['video_id']}.txt"
        if row["video_id"] == "c" and not (folder / "go").exists():
            (folder / "waiting").touch()
            time.sleep(60)
        with atomic_path(path) as part:
            part.write_text(row["video_id"])
        return {"path": str(path)}

    return work


def _killed_run(tmp_path):
    """Run a shard in a separate process and kill -9 it during the third video."""
    process = multiprocessing.get_context("fork").Process(target=run, args=(tmp_path, _work_that_stops_at_c(tmp_path)))
    process.start()
    deadline = time.monotonic() + 30
    while not (tmp_path / "waiting").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    (tmp_path / "go").touch()


def test_a_killed_job_resumes_after_the_last_finished_video(tmp_path):
    _killed_run(tmp_path)
    assert not (tmp_path / "shard.parquet").exists()
    tally = run(tmp_path, _work_that_stops_at_c(tmp_path))
    assert tally.resumed == 2
    assert (tmp_path / "calls").read_text() == "abcc"
    assert {name: row["status"] for name, row in by_name(tmp_path).items()} == {"a": "ok", "b": "ok", "c": "ok"}


def test_a_partial_last_line_of_the_journal_is_processed_again(tmp_path):
    _killed_run(tmp_path)
    journal = tmp_path / "shard.parquet.journal"
    journal.write_bytes(journal.read_bytes()[:-7])
    assert run(tmp_path, _work_that_stops_at_c(tmp_path)).resumed == 1


@pytest.mark.slow
def test_the_journal_is_invalid_for_other_code_settings_or_missing_files(tmp_path):
    for change in ({"code": "v2"}, {"settings": FrameSettings(per_clip=3)}, {"inputs": "other weights"}):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        _killed_run(folder)
        assert run(folder, _work_that_stops_at_c(folder), **change).resumed == 0, change
    folder = tmp_path / "missing"
    folder.mkdir()
    _killed_run(folder)
    (folder / "a.txt").unlink()
    assert run(folder, _work_that_stops_at_c(folder)).resumed == 1


@pytest.mark.slow
def test_a_successor_waits_for_the_orphan_and_reuses_its_table(tmp_path):
    lock = FileLock(tmp_path / ".shard.parquet.lock")
    with lock:
        process = multiprocessing.get_context("fork").Process(target=run, args=(tmp_path, lambda row: {"path": ""}))
        process.start()
        time.sleep(1.5)
        assert not (tmp_path / "shard.parquet").exists()
    process.join(20)
    assert process.exitcode == 0

    def never(row):
        raise AssertionError("the table already exists")

    assert run(tmp_path, never).ok == 3


def test_a_full_disk_stops_the_job_instead_of_failing_videos(tmp_path):
    def work(row):
        raise OSError(28, "No space left on device")

    with pytest.raises(
        MachineError, match=f"stopped at a: No space left on device: {tmp_path} .*Free space"
    ) as stopped:
        run(tmp_path, work)
    assert stopped.value.errno == errno.ENOSPC
    assert not (tmp_path / "shard.parquet").exists()


def test_too_many_failures_stop_the_stage_and_are_listed(tmp_path):
    def work(row):
        raise Failed("truncated", "broken")

    names = [f"v{number:02d}" for number in range(30)]
    with pytest.raises(TooManyFailures, match=r"30 of the 30 rows.*\n.*v00: truncated: broken"):
        run(tmp_path, work, names, max_failed_fraction=0.5)
    assert len((tmp_path / "shard.parquet.journal").read_text().splitlines()) == 30


def test_failures_are_counted_over_the_shards_of_a_stage(tmp_path):
    def work(row):
        if row["video_id"].startswith("bad"):
            raise Failed("truncated")
        return {}

    def one(name):
        run_shard(rows(name), tmp_path / f"{name}.parquet", SCHEMA, work, code="v1", max_failed_fraction=0.1)

    for number in range(18):
        one(f"good{number}")
    one("bad1")
    one("bad2")  # 2 of 20, exactly at the limit
    with pytest.raises(TooManyFailures, match="3 of the 21 rows"):
        one("bad3")


def test_a_table_that_vanishes_or_is_damaged_while_failures_are_counted_ends_no_job(tmp_path, caplog):
    """Snakemake deletes the tables of jobs that it will run again while others of the stage are running."""
    run(tmp_path, lambda row: {}, [f"good{number}" for number in range(18)])
    whole = (tmp_path / "shard.parquet").rename(tmp_path / "whole.parquet").read_bytes()
    # Listed with the folder, and not there when opened, like a file deleted in between.
    (tmp_path / "vanished.parquet").symlink_to(tmp_path / "deleted.parquet")
    (tmp_path / "half.parquet").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.parquet").touch()

    def work(row):
        raise Failed("truncated")

    assert run(tmp_path, work, "ab", max_failed_fraction=0.1).failed == 2, "2 of 20, exactly at the limit"
    warned = "\n".join(record.getMessage() for record in caplog.records)
    assert "half.parquet cannot be read" in warned and "empty.parquet cannot be read" in warned
    assert "vanished" not in warned
    (tmp_path / "shard.parquet").unlink()
    with pytest.raises(TooManyFailures, match="3 of the 21 rows"):
        run(tmp_path, work, "abc", max_failed_fraction=0.1)


@pytest.mark.parametrize("kept", (0, 0.5))
def test_a_damaged_table_of_the_shard_itself_is_written_again(tmp_path, kept):
    run(tmp_path, lambda row: {})
    table = tmp_path / "shard.parquet"
    whole = table.read_bytes()
    table.write_bytes(whole[: int(kept * len(whole))])
    assert run(tmp_path, lambda row: {}).ok == 3
    assert table.read_bytes() == whole


def test_repeated_ids_are_refused(tmp_path):
    with pytest.raises(ValueError, match="more than once: a"):
        run(tmp_path, lambda row: {}, "aab")


def test_journal_is_json_lines(tmp_path):
    def work(row):
        if row["video_id"] == "b":
            lines = Path(tmp_path / "shard.parquet.journal").read_text().splitlines()
            assert [json.loads(line)["key"] for line in lines] == ["a"]
        return {}

    assert run(tmp_path, work, "ab").ok == 2


def test_a_job_that_runs_again_processes_only_changed_or_failed_rows(tmp_path):
    def work(row):
        if row["video_id"] == "e" and not (tmp_path / "b.txt").exists():
            raise Failed("not_yet")
        path = tmp_path / f"{row['video_id']}.txt"
        path.write_text(row["person_id"])
        return {"path": str(path)}

    run(tmp_path, work, "eabc")
    (tmp_path / "shard.parquet").unlink()  # as Snakemake does before a job runs again
    (tmp_path / "c.txt").unlink()
    changed = [{**rows("a")[0], "person_id": "another"}, *rows("b", "c", "d", "e")]
    announced, worked = [], []
    tally = run_shard(
        changed, tmp_path / "shard.parquet", SCHEMA, lambda row: worked.append(row["video_id"]) or work(row),
        code="v1", begin=lambda wanted: announced.extend(row["video_id"] for row in wanted),
    )  # fmt: skip
    assert announced == worked == ["a", "c", "d", "e"]
    assert (tally.ok, tally.resumed) == (5, 1)
    assert [row["video_id"] for row in read_rows(tmp_path / "shard.parquet")] == list("abcde")
    assert (tmp_path / "a.txt").read_text() == "another"
    assert len((tmp_path / "shard.parquet.journal").read_text().splitlines()) == 5


def test_without_a_kept_journal_none_is_left(tmp_path):
    run(tmp_path, lambda row: {}, keep_journal=False)
    assert [path.name for path in tmp_path.iterdir() if "journal" in path.name] == []
