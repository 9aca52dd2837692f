from pathlib import Path

from deepfakemnist.dataset.released_clips import import_released_shard
from deepfakemnist.sources.released import KINDS
from deepfakemnist.workflow.script import run_plan_of, stage_script

with stage_script(snakemake):
    run_plan = run_plan_of(snakemake)
    import_released_shard(
        rows=run_plan.rows(KINDS[snakemake.wildcards.kind], snakemake.wildcards.shard),
        table=Path(snakemake.output.table),
        fps=snakemake.params.fps,
        code=snakemake.params.code,
        max_failed_fraction=run_plan.config.max_failed_fraction,
        limits=run_plan.config.sources.limits,
    )
