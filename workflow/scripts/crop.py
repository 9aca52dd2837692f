from deepfakemnist.config.stages import CropSettings
from deepfakemnist.faces.crop import crop_shard
from deepfakemnist.workflow.script import shard_arguments, stage_script

with stage_script(snakemake):
    crop_shard(
        ingested=snakemake.input.ingested,
        settings=CropSettings(**snakemake.params.settings),
        ffmpeg=snakemake.config.get("ffmpeg"),
        used_frames=snakemake.params.used_frames,
        **shard_arguments(snakemake),
    )
