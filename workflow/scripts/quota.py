import logging
from pathlib import Path

from deepfakemnist.planning.rounds import QUOTA_COLUMNS, check_shortfall, read_outcomes
from deepfakemnist.report.quota_page import write_quota_page
from deepfakemnist.tables.tsv import write_tsv
from deepfakemnist.workflow.script import run_plan_of, stage_script

with stage_script(snakemake):
    run_plan = run_plan_of(snakemake)
    outcomes = read_outcomes(snakemake.input.plans, snakemake.input.selected, run_plan.quotas)
    rows = run_plan.quota_summary(outcomes)
    if text := check_shortfall(rows, run_plan.config.plan):
        logging.getLogger("quota").warning("%s", text)
    write_tsv(snakemake.output.table, QUOTA_COLUMNS, rows)
    write_quota_page(rows, outcomes, Path(snakemake.output.page), [snakemake.params.notice])
