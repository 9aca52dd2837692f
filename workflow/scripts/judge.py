from pathlib import Path

from deepfakemnist.animate.judge_stage import judge_shard
from deepfakemnist.settings import JudgeSettings
from deepfakemnist.workflow import max_failed_fraction, stage_script

with stage_script(snakemake):
    judge_shard(
        animations=Path(snakemake.input.animations),
        source_crops=Path(snakemake.input.sources),
        driver_crops=[Path(path) for path in snakemake.input.drivers],
        table=Path(snakemake.output.table),
        settings=JudgeSettings(**snakemake.params.settings),
        code=snakemake.params.code,
        max_failed_fraction=max_failed_fraction(snakemake),
    )
