import logging
from pathlib import Path

from deepfakemnist.report.quota_page import write_quota_page
from deepfakemnist.rounds import ACCOUNT_COLUMNS, check_shortfall, read_tried
from deepfakemnist.tsv import write_tsv
from deepfakemnist.workflow import road_of, stage_script

with stage_script(snakemake):
    road = road_of(snakemake)
    tried = read_tried(snakemake.input.plans, snakemake.input.selected, road.config.plan.quota)
    rows = road.account(tried)
    if text := check_shortfall(rows, road.config.plan):
        logging.getLogger("quota").warning("%s", text)
    write_tsv(snakemake.output.table, ACCOUNT_COLUMNS, rows)
    write_quota_page(rows, tried, Path(snakemake.output.page))
