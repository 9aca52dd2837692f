from pathlib import Path

from deepfakemnist.animate.stages import drive_shard
from deepfakemnist.settings import AnimatorSettings
from deepfakemnist.workflow import device_of, shard_arguments, stage_script

with stage_script(snakemake):
    drive_shard(
        crops=Path(snakemake.input.crops),
        checkpoint=Path(snakemake.input.checkpoint),
        settings=AnimatorSettings(**snakemake.params.settings),
        device=device_of(snakemake),
        **shard_arguments(snakemake),
    )
