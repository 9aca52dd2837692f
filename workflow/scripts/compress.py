from deepfakemnist.config.dataset import CompressSettings
from deepfakemnist.media.compress import compress_shard
from deepfakemnist.media.lengths import pair_lengths
from deepfakemnist.workflow.script import shard_arguments, stage_script

with stage_script(snakemake):
    settings = CompressSettings(**snakemake.params.settings)
    compress_shard(
        clips=snakemake.input.clips,
        label=int(snakemake.wildcards.kind == "fake"),
        settings=settings,
        fps=snakemake.params.fps,
        lengths=pair_lengths(snakemake.input.crops, snakemake.input.plans) if settings.length == "pair" else None,
        software=snakemake.params.software,
        ffmpeg=snakemake.config.get("ffmpeg"),
        **shard_arguments(snakemake),
    )
