from pathlib import Path

from deepfakemnist.actors.bake import bake
from deepfakemnist.workflow import stage_script

with stage_script(snakemake):
    bake(Path(snakemake.output.bank))
