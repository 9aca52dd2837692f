from pathlib import Path

from deepfakemnist.animate.stages import train_animator_stage
from deepfakemnist.settings import AnimatorSettings
from deepfakemnist.workflow import road_of, stage_script

with stage_script(snakemake):
    settings = AnimatorSettings(**snakemake.params.settings)
    road = road_of(snakemake)
    train_animator_stage(
        crop_tables=[Path(path) for path in snakemake.input.sources],
        driver_crop_tables=[Path(path) for path in snakemake.input.drivers],
        people=road.people(settings.train.splits),
        checkpoint=Path(snakemake.output.checkpoint),
        report=Path(snakemake.output.history),
        settings=settings,
        seed=snakemake.params.seed,
        device=road.config.device,
    )
