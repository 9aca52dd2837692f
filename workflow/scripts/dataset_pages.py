from pathlib import Path

from deepfakemnist.report.dataset_page import write_dataset_page
from deepfakemnist.report.ledger_page import write_ledger_page
from deepfakemnist.tables.tsv import read_tsv
from deepfakemnist.workflow.script import stage_script

with stage_script(snakemake):
    notices = [snakemake.params.notice]
    summary, ledger, videos = (Path(snakemake.input[name]) for name in ("summary", "ledger", "videos"))
    quota = read_tsv(Path(snakemake.input.quota)) if snakemake.input.quota else []
    write_dataset_page(summary, ledger, videos, Path(snakemake.output.summary), quota, notices)
    write_ledger_page(ledger, Path(snakemake.output.ledger), notices)
