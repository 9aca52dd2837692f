from pathlib import Path

from deepfakemnist.sources.selection import keep_chosen
from deepfakemnist.workflow import input_path, stage_script

with stage_script(snakemake):
    keep_chosen(
        crops=Path(snakemake.input.crops),
        choice=input_path(snakemake, "choice"),
        table=Path(snakemake.output.table),
    )
