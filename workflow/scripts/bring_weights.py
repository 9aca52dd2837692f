import shutil
from pathlib import Path

from deepfakemnist.tables.files import atomic_path
from deepfakemnist.workflow.script import stage_script

with stage_script(snakemake), atomic_path(Path(snakemake.output.weights)) as part:
    shutil.copyfile(snakemake.input.weights, part)
