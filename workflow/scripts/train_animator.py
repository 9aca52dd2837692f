from pathlib import Path

from deepfakemnist.animate.training.stage import train_animator_stage
from deepfakemnist.config.animators.fomm import FommSettings
from deepfakemnist.workflow.script import run_plan_of, stage_script

with stage_script(snakemake):
    checkpoint = Path(snakemake.output.checkpoint)
    train_animator_stage(
        clips=Path(snakemake.input.clips),
        checkpoint=checkpoint,
        folder=checkpoint.parent / "training",
        report=Path(snakemake.output.history),
        settings=FommSettings(**snakemake.params.settings["animator"]),
        seed=snakemake.params.settings["seed"],
        device=run_plan_of(snakemake).config.device,
    )
