from pathlib import Path

from deepfakemnist.workflow.packed_media import pack
from deepfakemnist.workflow.script import stage_script

with stage_script(snakemake):
    pack(snakemake.input, Path(snakemake.output.media))
