from deepfakemnist.animate.stages import extract_motion_shards
from deepfakemnist.config.animators.registry import animator_settings
from deepfakemnist.workflow.script import device_of, input_path, job_arguments, stage_script

with stage_script(snakemake):
    extract_motion_shards(
        weights=input_path(snakemake, "weights"),
        settings=animator_settings(snakemake.params.settings),
        device=device_of(snakemake),
        **job_arguments(snakemake, snakemake.input.crops),
    )
