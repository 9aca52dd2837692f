from pathlib import Path

from deepfakemnist.training.robustness import predict_disturbed
from deepfakemnist.workflow import device_of, stage_script

with stage_script(snakemake):
    predict_disturbed(
        index=Path(snakemake.input.frames),
        videos=Path(snakemake.input.videos),
        checkpoint=Path(snakemake.input.checkpoint),
        table=Path(snakemake.output.table),
        quality=snakemake.params.quality,
        kinds=snakemake.params.kinds,
        device=device_of(snakemake),
        # A GPU wants frames decoded beside it; on a CPU the decoding processes would take the network's cores.
        workers=snakemake.threads - 1 if snakemake.resources.get("gpu") else 0,
    )
