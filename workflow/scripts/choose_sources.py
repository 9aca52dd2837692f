from pathlib import Path

from deepfakemnist.config.stages import SelectionSettings
from deepfakemnist.sources.selection import choose_sources
from deepfakemnist.workflow.script import stage_script

with stage_script(snakemake):
    choose_sources(
        crops=[Path(path) for path in snakemake.input.crops],
        table=Path(snakemake.output.table),
        settings=SelectionSettings(**snakemake.params.settings),
        seed=snakemake.params.seed,
    )
