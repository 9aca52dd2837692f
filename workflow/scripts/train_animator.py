from pathlib import Path

from deepfakemnist.animate.training.stage import train_animator_stage
from deepfakemnist.config.animator import AnimatorSettings
from deepfakemnist.workflow.script import run_plan_of, stage_script

with stage_script(snakemake):
    settings = AnimatorSettings(**snakemake.params.settings)
    run_plan = run_plan_of(snakemake)
    checkpoint = Path(snakemake.output.checkpoint)
    train_animator_stage(
        crop_tables=[Path(path) for path in snakemake.input.sources],
        driver_crop_tables=[Path(path) for path in snakemake.input.drivers],
        people=run_plan.people(settings.train.splits),
        checkpoint=checkpoint,
        folder=checkpoint.parent / "training",
        report=Path(snakemake.output.history),
        settings=settings,
        seed=snakemake.params.seed,
        device=run_plan.config.device,
        exclude=run_plan.config.sources.exclude,
    )
