"""Job set-up: GPUs per job and clips per job."""

from pathlib import Path

import pytest

from deepfakemnist.animate.batches import write_rows_of_shard
from deepfakemnist.tables.files import read_rows, write_table
from deepfakemnist.tables.schemas import ANIMATED, PLANNED
from deepfakemnist.workflow.gpu_requests import gpus_of_run
from deepfakemnist.workflow.script import clips_per_job


def test_shards_are_batched_with_a_gpu_and_existing_results_keep_their_layout(tmp_path: Path) -> None:
    assert clips_per_job("auto", 0, tmp_path) == 0
    assert clips_per_job("auto", 1, tmp_path) == 800
    (tmp_path / "extract_motion").mkdir()
    assert clips_per_job("auto", 1, tmp_path) == 800
    (tmp_path / "extract_motion/shard-0000.parquet").touch()
    assert clips_per_job("auto", 1, tmp_path) == 0
    (tmp_path / "gpu").mkdir()
    assert clips_per_job("auto", 0, tmp_path) == 800
    assert (clips_per_job(None, 1, tmp_path), clips_per_job(50, 0, tmp_path)) == (0, 50)


def test_jobs_use_the_gpu_count_detected_by_the_main_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPFAKEMNIST_GPUS", "1")
    assert gpus_of_run("cpu", starts_here=False) == 1
    assert gpus_of_run("cpu", starts_here=True) == gpus_of_run("cuda", starts_here=False) == 0
    monkeypatch.delenv("DEEPFAKEMNIST_GPUS")
    assert gpus_of_run("cuda", starts_here=False) == 1


def test_a_shard_extracts_its_rows_from_the_batch_table(tmp_path: Path) -> None:
    job, plan, table = (tmp_path / f"{name}.parquet" for name in ("job", "plan", "shard"))
    made = [{"video_id": name, "status": status} for name, status in (("a", "ok"), ("b", "failed"), ("c", "ok"))]
    write_table(made, job, ANIMATED)
    write_table([{"video_id": name, "status": "ok" if name != "x" else "rejected"} for name in "cxb"], plan, PLANNED)
    write_rows_of_shard(job, plan, table)
    assert [(row["video_id"], row["status"]) for row in read_rows(table)] == [("c", "ok"), ("b", "failed")]
    write_table([{"video_id": "d", "status": "ok"}], plan, PLANNED)
    with pytest.raises(ValueError, match=r"job.parquet has no row for d of .*plan.parquet; delete .* and run again"):
        write_rows_of_shard(job, plan, table)
