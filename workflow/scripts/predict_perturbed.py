from pathlib import Path

from deepfakemnist.training.robustness import predict_perturbed
from deepfakemnist.workflow.finished_jobs import finished_once
from deepfakemnist.workflow.script import decoders_of, device_of, stage_script

with stage_script(snakemake), finished_once(snakemake, __file__) as results:
    if not results.take_over():
        predict_perturbed(
            index=Path(snakemake.input.frames),
            videos=Path(snakemake.input.videos),
            checkpoint=Path(snakemake.input.checkpoint),
            table=Path(snakemake.output.table),
            quality=snakemake.params.quality,
            kinds=snakemake.params.kinds,
            device=device_of(snakemake),
            workers=decoders_of(snakemake),
        )
        results.keep()
