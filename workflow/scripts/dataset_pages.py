from pathlib import Path

from deepfakemnist.report.contact_sheet import write_contact_sheet
from deepfakemnist.report.dataset_page import write_dataset_page, write_ledger_page
from deepfakemnist.workflow.script import stage_script

with stage_script(snakemake):
    write_dataset_page(Path(snakemake.input.summary), Path(snakemake.output.summary))
    write_ledger_page(Path(snakemake.input.ledger), Path(snakemake.output.ledger))
    write_contact_sheet(
        Path(snakemake.input.videos),
        [Path(path) for path in snakemake.input.drivers],
        Path(snakemake.output.contact_sheet),
    )
