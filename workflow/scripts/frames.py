from deepfakemnist.media.frames import frames_shard
from deepfakemnist.settings import FrameSettings
from deepfakemnist.workflow import shard_arguments, stage_script

with stage_script(snakemake):
    frames_shard(
        compressed=snakemake.input.compressed,
        settings=FrameSettings(**snakemake.params.settings),
        **shard_arguments(snakemake),
    )
