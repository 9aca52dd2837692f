"""Tables of shards out of the table of a job that worked on several."""

from __future__ import annotations

from pathlib import Path

from deepfakemnist.tables.files import read_rows, read_table, write_table
from deepfakemnist.tables.schemas import OK


def write_rows_of_shard(job: Path, rows: Path, table: Path) -> None:
    """Write what a job made of the rows of a shard, in their order.

    Args:
        job: table of the job.
        rows: what the shard gave the job, e.g. its plan; rows that are not ok were left out.
        table: file to write; it has the columns of the job's table.

    Raises: ValueError when the job knows nothing of a row.
    """
    made = {row["video_id"]: row for row in read_rows(job)}
    wanted = [row["video_id"] for row in read_rows(rows, ["video_id", "status"]) if row["status"] == OK]
    missing = [name for name in wanted if name not in made]
    if missing:
        raise ValueError(f"{job} has no row for {missing[0]} of {rows}; delete {job} and run again")
    write_table([made[name] for name in wanted], table, read_table(job).schema)
