from pathlib import Path

from deepfakemnist.training.predict import predict
from deepfakemnist.workflow import device_of, input_path, stage_script

with stage_script(snakemake):
    predict(
        index=Path(snakemake.input.frames),
        videos=Path(snakemake.input.videos),
        checkpoint=Path(snakemake.input.checkpoint),
        table=Path(snakemake.output.table),
        dataset=snakemake.wildcards.get("dataset"),
        trained_videos=input_path(snakemake, "trained_videos"),
        device=device_of(snakemake),
        # A GPU wants frames decoded beside it; on a CPU the decoding processes would take the network's cores.
        workers=snakemake.threads - 1 if snakemake.resources.get("gpu") else 0,
    )
