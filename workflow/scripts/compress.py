from deepfakemnist.media.compress import compress_shard
from deepfakemnist.settings import CompressSettings
from deepfakemnist.workflow import shard_arguments, stage_script

with stage_script(snakemake):
    compress_shard(
        clips=snakemake.input.clips,
        label=int(snakemake.wildcards.kind == "fake"),
        settings=CompressSettings(**snakemake.params.settings),
        fps=snakemake.params.fps,
        ffmpeg=snakemake.config.get("ffmpeg"),
        **shard_arguments(snakemake),
    )
