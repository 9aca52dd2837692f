from pathlib import Path

from deepfakemnist.planning.rounds import read_outcomes, write_candidates
from deepfakemnist.workflow.script import run_plan_of, stage_script

with stage_script(snakemake):
    run_plan = run_plan_of(snakemake)
    outcomes = read_outcomes(snakemake.input.plans, snakemake.input.selected, run_plan.quotas)
    write_candidates(run_plan.draw_candidates(outcomes), Path(snakemake.output.table))
