from pathlib import Path

from deepfakemnist.evaluation.stage import join_training_sets
from deepfakemnist.workflow.script import stage_script

with stage_script(snakemake):
    join_training_sets(
        [Path(path) for path in snakemake.input.measured],
        {name: Path(path) for name, path in snakemake.output.items()},
    )
