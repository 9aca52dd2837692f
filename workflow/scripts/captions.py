from pathlib import Path

from deepfakemnist.dataset.captions import write_captions
from deepfakemnist.workflow.script import run_plan_of, stage_script

with stage_script(snakemake):
    write_captions(
        sources=run_plan_of(snakemake).captions(),
        table=Path(snakemake.output.table),
    )
