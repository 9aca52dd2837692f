from pathlib import Path

from deepfakemnist.config.dataset import IdentitySettings
from deepfakemnist.dataset.identity_audit import audit_identities
from deepfakemnist.report.identity_page import write_identity_page
from deepfakemnist.workflow.script import stage_script

with stage_script(snakemake):
    identities = [Path(path) for path in snakemake.input.identities]
    findings = audit_identities(
        identities=identities,
        videos=Path(snakemake.input.videos),
        path=Path(snakemake.output.table),
        settings=IdentitySettings(**snakemake.params.settings),
    )
    write_identity_page(findings, identities, Path(snakemake.output.page), [snakemake.params.notice])
