from pathlib import Path

from deepfakemnist.media.ingest import ingest_shard
from deepfakemnist.sources.voxceleb1 import read_annotation
from deepfakemnist.workflow.script import run_plan_of, stage_script

with stage_script(snakemake):
    run_plan = run_plan_of(snakemake)
    ingest_shard(
        rows=run_plan.rows(snakemake.wildcards.role, snakemake.wildcards.shard),
        table=Path(snakemake.output.table),
        code=snakemake.params.code,
        max_failed_fraction=run_plan.config.max_failed_fraction,
        read_annotation=read_annotation,
        limits=run_plan.config.sources.limits,
    )
