from deepfakemnist.config.dataset import FrameSettings
from deepfakemnist.dataset.face_boxes import best_face
from deepfakemnist.media.frames import frames_shard
from deepfakemnist.workflow.script import shard_arguments, stage_script

with stage_script(snakemake):
    settings = FrameSettings(**snakemake.params.settings)
    frames_shard(
        compressed=snakemake.input.compressed,
        settings=settings,
        find_face=best_face() if settings.region == "face" else None,
        **shard_arguments(snakemake),
    )
