"""Per-shard tables, split from the table of a job that covered several shards."""

from __future__ import annotations

from pathlib import Path

from deepfakemnist.tables.files import read_rows, read_table, write_table
from deepfakemnist.tables.schemas import OK


def write_rows_of_shard(job: Path, rows: Path, table: Path) -> None:
    """Write a job's results for the rows of one shard, in the shard's order.

    Args:
        job: table of the job.
        rows: input of the shard, e.g. its plan; rows that are not ok have no result.
        table: file to write, with the columns of the job's table.

    Raises: ValueError when the job has no result for one of the rows.
    """
    results = {row["video_id"]: row for row in read_rows(job)}
    expected = [row["video_id"] for row in read_rows(rows, ["video_id", "status"]) if row["status"] == OK]
    missing = [video_id for video_id in expected if video_id not in results]
    if missing:
        raise ValueError(f"{job} has no row for {missing[0]} of {rows}; delete {job} and run again")
    write_table([results[video_id] for video_id in expected], table, read_table(job).schema)
