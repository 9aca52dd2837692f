from pathlib import Path

from pydantic import TypeAdapter

from deepfakemnist.config.liveness import LivenessProvider
from deepfakemnist.liveness.stages import liveness_shard
from deepfakemnist.workflow.script import max_failed_fraction, stage_script

with stage_script(snakemake):
    liveness_shard(
        animations=Path(snakemake.input.animations),
        table=Path(snakemake.output.table),
        settings=TypeAdapter(LivenessProvider).validate_python(snakemake.params.settings),
        fps=snakemake.params.fps,
        code=snakemake.params.code,
        motions=snakemake.params.motions,
        answers=Path(snakemake.params.answers),
        gates=[Path(path) for path in snakemake.input.gates],
        max_failed_fraction=max_failed_fraction(snakemake),
    )
