from pathlib import Path

from deepfakemnist.planning.assignment import plan_shard
from deepfakemnist.planning.rounds import read_candidates
from deepfakemnist.workflow.script import input_path, run_plan_of, stage_script

with stage_script(snakemake):
    candidates = input_path(snakemake, "candidates")
    run_plan = run_plan_of(snakemake)
    own_round = run_plan.later_round(read_candidates(candidates)) if candidates else run_plan.first_round
    plan_shard(
        assignments=own_round.candidates(snakemake.wildcards.shard),
        crops=[Path(path) for path in snakemake.input.crops],
        motions=[Path(path) for path in snakemake.input.motions],
        table=Path(snakemake.output.table),
        seed=snakemake.params.seed,
        code=snakemake.params.code,
        driver_splits=run_plan.driver_splits(),
    )
