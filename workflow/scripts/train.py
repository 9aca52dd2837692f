from pathlib import Path

from deepfakemnist.config.detectors import DetectorTraining
from deepfakemnist.config.preparation import Preparation
from deepfakemnist.devices.launch import launch_distributed
from deepfakemnist.training.loop import train_detector
from deepfakemnist.workflow.finished_jobs import finished_once
from deepfakemnist.workflow.script import decoders_of, device_of, input_path, stage_script

with stage_script(snakemake), finished_once(snakemake, __file__) as results:
    if not results.take_over():
        launch_distributed(
            train_detector,
            processes=snakemake.params.gpus,
            log_file=Path(snakemake.log[0]),
            index=Path(snakemake.input.frames),
            videos=Path(snakemake.input.videos),
            checkpoint=Path(snakemake.output.checkpoint),
            history=Path(snakemake.output.history),
            card=Path(snakemake.output.card),
            events=Path(snakemake.output.checkpoint).parent / "tensorboard" if snakemake.params.tensorboard else None,
            settings=DetectorTraining(**snakemake.params.settings),
            trained_on=snakemake.wildcards.trained_on,
            seed=int(snakemake.wildcards.seed),
            imagenet=input_path(snakemake, "imagenet"),
            preparation=Preparation(**snakemake.params.preparation),
            device=device_of(snakemake),
            workers=decoders_of(snakemake, snakemake.params.gpus),
        )
        results.keep()
