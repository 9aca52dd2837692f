from pathlib import Path

from deepfakemnist.actors.bake import bake
from deepfakemnist.workflow import stage_script

with stage_script(snakemake):
    bake(
        path=Path(snakemake.output.bank),
        identities=snakemake.params.identities,
        seed=snakemake.params.seed,
    )
