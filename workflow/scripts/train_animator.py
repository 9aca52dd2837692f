from pathlib import Path

from deepfakemnist.animate.train_stage import train_animator_stage
from deepfakemnist.animator_settings import AnimatorSettings
from deepfakemnist.workflow import road_of, stage_script

with stage_script(snakemake):
    settings = AnimatorSettings(**snakemake.params.settings)
    road = road_of(snakemake)
    checkpoint = Path(snakemake.output.checkpoint)
    train_animator_stage(
        crop_tables=[Path(path) for path in snakemake.input.sources],
        driver_crop_tables=[Path(path) for path in snakemake.input.drivers],
        people=road.people(settings.train.splits),
        checkpoint=checkpoint,
        folder=checkpoint.parent / "training",
        report=Path(snakemake.output.history),
        settings=settings,
        seed=snakemake.params.seed,
        device=road.config.device,
        exclude=road.config.sources.exclude,
    )
