from pathlib import Path

from deepfakemnist.animate.batches import write_rows_of_shard
from deepfakemnist.workflow.script import stage_script

with stage_script(snakemake):
    write_rows_of_shard(
        job=Path(snakemake.input.job),
        rows=Path(snakemake.input.rows),
        table=Path(snakemake.output.table),
    )
