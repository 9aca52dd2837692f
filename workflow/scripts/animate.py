from deepfakemnist.animate.rendered import import_rendered_shards
from deepfakemnist.animate.stages import animate_shards
from deepfakemnist.config.animators.registry import animator_settings
from deepfakemnist.config.load import load_config
from deepfakemnist.workflow.script import device_of, input_path, job_arguments, stage_script

with stage_script(snakemake):
    settings = animator_settings(snakemake.params.settings)
    arguments = job_arguments(snakemake, snakemake.input.plans) | {"fps": snakemake.params.fps}
    if settings.renders_here:
        animate_shards(
            weights=input_path(snakemake, "weights"),
            settings=settings,
            device=device_of(snakemake) if settings.may_use_gpu else "cpu",
            # One core reads and one feeds the GPU; it renders faster than one core can encode.
            writers=max(int(snakemake.threads) - 2, 1),
            **arguments,
        )
    else:
        import_rendered_shards(settings=settings, limits=load_config(snakemake.config).sources.limits, **arguments)
