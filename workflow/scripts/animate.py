from pathlib import Path

from deepfakemnist.animate.stages import animate_shard
from deepfakemnist.animator_settings import AnimatorSettings
from deepfakemnist.workflow import device_of, input_path, shard_arguments, stage_script

with stage_script(snakemake):
    animate_shard(
        plan=Path(snakemake.input.plan),
        weights=input_path(snakemake, "weights"),
        settings=AnimatorSettings(**snakemake.params.settings),
        fps=snakemake.params.fps,
        device=device_of(snakemake),
        # One core reads and one feeds the GPU; it renders faster than one core can encode.
        writers=max(int(snakemake.threads) - 2, 1),
        **shard_arguments(snakemake),
    )
