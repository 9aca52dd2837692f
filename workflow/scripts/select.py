from pathlib import Path

from deepfakemnist.config.stages import SelectSettings
from deepfakemnist.liveness.select import select_shard
from deepfakemnist.workflow.script import input_path, stage_script

with stage_script(snakemake):
    select_shard(
        animations=Path(snakemake.input.animations),
        verdicts=[Path(path) for path in snakemake.input.verdicts],
        table=Path(snakemake.output.table),
        settings=SelectSettings(**snakemake.params.settings),
        judged=input_path(snakemake, "judged"),
    )
