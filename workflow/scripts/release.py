from pathlib import Path

from deepfakemnist.config.dataset import ReleaseSettings
from deepfakemnist.dataset.release import write_release
from deepfakemnist.workflow.script import stage_script

with stage_script(snakemake):
    write_release(
        manifest=Path(snakemake.input.videos).parent,
        out=Path(snakemake.output.sums).parent,
        settings=ReleaseSettings(**snakemake.params.settings),
        exclude=snakemake.params.exclude,
        identities=Path(snakemake.input.identities),
        audit=Path(snakemake.input.audit),
    )
