from pathlib import Path

from deepfakemnist.animate.training.stage import train_animator_stage
from deepfakemnist.config.animators.fomm import FommSettings
from deepfakemnist.devices.launch import launch_distributed
from deepfakemnist.workflow.script import decoders_of, run_plan_of, stage_script

with stage_script(snakemake):
    checkpoint = Path(snakemake.output.checkpoint)
    settings = FommSettings(**snakemake.params.settings["animator"])
    launch_distributed(
        train_animator_stage,
        processes=settings.train.gpus,
        setting="animator.train.gpus",
        log_file=Path(snakemake.log[0]),
        clips=Path(snakemake.input.clips),
        checkpoint=checkpoint,
        folder=checkpoint.parent / "training",
        report=Path(snakemake.output.history),
        settings=settings,
        seed=snakemake.params.settings["seed"],
        device=run_plan_of(snakemake).config.device,
        workers=decoders_of(snakemake, settings.train.gpus),
    )
