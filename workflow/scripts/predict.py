from pathlib import Path

from deepfakemnist.training.predict import predict
from deepfakemnist.workflow.finished_jobs import finished_once
from deepfakemnist.workflow.script import decoders_of, device_of, input_path, stage_script

with stage_script(snakemake), finished_once(snakemake, __file__) as results:
    if not results.take_over():
        predict(
            index=Path(snakemake.input.frames),
            videos=Path(snakemake.input.videos),
            checkpoint=Path(snakemake.input.checkpoint),
            table=Path(snakemake.output.table),
            dataset=snakemake.wildcards.get("dataset"),
            trained_videos=input_path(snakemake, "trained_videos"),
            device=device_of(snakemake),
            workers=decoders_of(snakemake),
        )
        results.keep()
