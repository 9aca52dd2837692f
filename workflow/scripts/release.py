from pathlib import Path

from deepfakemnist.dataset.release import write_release
from deepfakemnist.dataset_settings import ReleaseSettings
from deepfakemnist.workflow import stage_script

with stage_script(snakemake):
    write_release(
        manifest=Path(snakemake.input.videos).parent,
        out=Path(snakemake.output.sums).parent,
        settings=ReleaseSettings(**snakemake.params.settings),
        exclude=snakemake.params.exclude,
    )
