from pathlib import Path

from deepfakemnist.planning.assignment import plan_shard
from deepfakemnist.planning.rounds import read_candidates
from deepfakemnist.workflow.script import input_path, run_plan_of, stage_script

with stage_script(snakemake):
    candidates = input_path(snakemake, "candidates")
    run_plan = run_plan_of(snakemake)
    plan_shard(
        assignments=run_plan.assignments(
            snakemake.wildcards.shard, read_candidates(candidates) if candidates else None
        ),
        crops=Path(snakemake.input.crops),
        motions=[Path(path) for path in snakemake.input.motions],
        table=Path(snakemake.output.table),
        seed=snakemake.params.seed,
        code=snakemake.params.code,
        driver_splits=run_plan.driver_splits(),
    )
