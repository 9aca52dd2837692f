from pathlib import Path

from deepfakemnist.animate.stages import drive_shard
from deepfakemnist.animator_settings import AnimatorSettings
from deepfakemnist.workflow import device_of, input_path, shard_arguments, stage_script

with stage_script(snakemake):
    drive_shard(
        crops=Path(snakemake.input.crops),
        weights=input_path(snakemake, "weights"),
        settings=AnimatorSettings(**snakemake.params.settings),
        device=device_of(snakemake),
        **shard_arguments(snakemake),
    )
