from pathlib import Path

from deepfakemnist.actors.cast import CastSettings, write_sheets
from deepfakemnist.workflow.script import stage_script

with stage_script(snakemake):
    write_sheets(
        CastSettings(**snakemake.params.settings), Path(snakemake.output.sources), Path(snakemake.output.drivers)
    )
