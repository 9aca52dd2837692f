from pathlib import Path

from deepfakemnist.liveness.select import select_shard
from deepfakemnist.workflow.script import stage_script

with stage_script(snakemake):
    select_shard(
        animations=Path(snakemake.input.animations),
        verdicts=[Path(path) for path in snakemake.input.verdicts],
        table=Path(snakemake.output.table),
    )
