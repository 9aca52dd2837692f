from pathlib import Path

from deepfakemnist.faces.identify import identify_shard
from deepfakemnist.workflow.script import max_failed_fraction, stage_script

with stage_script(snakemake):
    identify_shard(
        clips=Path(snakemake.input.clips),
        table=Path(snakemake.output.table),
        code=snakemake.params.code,
        max_failed_fraction=max_failed_fraction(snakemake),
    )
