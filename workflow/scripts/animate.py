from deepfakemnist.animate.stages import animate_shards
from deepfakemnist.config.animators.registry import animator_settings
from deepfakemnist.workflow.script import device_of, input_path, job_arguments, stage_script

with stage_script(snakemake):
    settings = animator_settings(snakemake.params.settings)
    animate_shards(
        weights=input_path(snakemake, "weights"),
        settings=settings,
        fps=snakemake.params.fps,
        device=device_of(snakemake) if settings.may_use_gpu else "cpu",
        # One core reads and one feeds the GPU; it renders faster than one core can encode.
        writers=max(int(snakemake.threads) - 2, 1),
        **job_arguments(snakemake, snakemake.input.plans),
    )
