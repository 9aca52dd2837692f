from pathlib import Path

from deepfakemnist.config.dataset import AuditSettings
from deepfakemnist.dataset.audit import audit_dataset
from deepfakemnist.report.audit_page import write_audit_page
from deepfakemnist.workflow.script import stage_script

with stage_script(snakemake):
    rows = audit_dataset(
        videos=Path(snakemake.input.videos),
        facts=[Path(path) for path in snakemake.input.facts],
        path=Path(snakemake.output.table),
        settings=AuditSettings(**snakemake.params.settings),
        seed=snakemake.params.seed,
    )
    write_audit_page(rows, Path(snakemake.output.page), [snakemake.params.notice])
