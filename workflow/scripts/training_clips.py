from pathlib import Path

from deepfakemnist.animate.training.stage import choose_training_clips
from deepfakemnist.config.animators.fomm import FommSettings
from deepfakemnist.workflow.params import digest
from deepfakemnist.workflow.script import run_plan_of, stage_script

with stage_script(snakemake):
    run_plan = run_plan_of(snakemake)
    settings = FommSettings(**snakemake.params.settings["animator"])
    choose_training_clips(
        crop_tables=[Path(path) for path in snakemake.input.sources],
        driver_crop_tables=[Path(path) for path in snakemake.input.drivers],
        people=run_plan.people(settings.train.splits),
        clips=Path(snakemake.output.clips),
        settings=settings,
        seed=snakemake.params.settings["seed"],
        chosen_for=digest(snakemake.params.settings),
        exclude=run_plan.config.sources.exclude,
    )
