from deepfakemnist.animate.stages import drive_shards
from deepfakemnist.animator_settings import AnimatorSettings
from deepfakemnist.workflow import device_of, input_path, job_arguments, stage_script

with stage_script(snakemake):
    drive_shards(
        weights=input_path(snakemake, "weights"),
        settings=AnimatorSettings(**snakemake.params.settings),
        device=device_of(snakemake),
        **job_arguments(snakemake, snakemake.input.crops),
    )
