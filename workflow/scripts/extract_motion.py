from deepfakemnist.animate.stages import extract_motion_shards
from deepfakemnist.config.animator import AnimatorSettings
from deepfakemnist.workflow.script import device_of, input_path, job_arguments, stage_script

with stage_script(snakemake):
    extract_motion_shards(
        weights=input_path(snakemake, "weights"),
        settings=AnimatorSettings(**snakemake.params.settings),
        device=device_of(snakemake),
        **job_arguments(snakemake, snakemake.input.crops),
    )
