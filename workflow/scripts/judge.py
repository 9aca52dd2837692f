from pathlib import Path

from deepfakemnist.animation_quality.stage import assess_shard
from deepfakemnist.config.stages import AnimationQualitySettings
from deepfakemnist.workflow.script import max_failed_fraction, stage_script

with stage_script(snakemake):
    assess_shard(
        animations=Path(snakemake.input.animations),
        source_crops=[Path(path) for path in snakemake.input.sources],
        driver_crops=[Path(path) for path in snakemake.input.drivers],
        table=Path(snakemake.output.table),
        settings=AnimationQualitySettings(**snakemake.params.settings),
        code=snakemake.params.code,
        max_failed_fraction=max_failed_fraction(snakemake),
    )
