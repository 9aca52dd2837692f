from pathlib import Path

from deepfakemnist.sources.selection import apply_selection
from deepfakemnist.workflow.script import input_path, stage_script

with stage_script(snakemake):
    apply_selection(
        crops=Path(snakemake.input.crops),
        choice=input_path(snakemake, "choice"),
        table=Path(snakemake.output.table),
    )
