from pathlib import Path

from deepfakemnist.actors.bake import bake
from deepfakemnist.workflow.script import stage_script

with stage_script(snakemake):
    bake(Path(snakemake.output.bank))
