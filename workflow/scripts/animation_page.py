from pathlib import Path

from deepfakemnist.report.animation_page import write_animation_page
from deepfakemnist.workflow.script import stage_script

with stage_script(snakemake):
    write_animation_page(
        [Path(path) for path in snakemake.input.tables],
        [Path(path) for path in snakemake.input.reenacted],
        Path(snakemake.output.page),
        [snakemake.params.notice],
    )
