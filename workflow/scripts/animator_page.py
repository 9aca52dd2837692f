from pathlib import Path

from deepfakemnist.report.animator_page import write_animator_page
from deepfakemnist.workflow.script import stage_script

with stage_script(snakemake):
    write_animator_page(Path(snakemake.input.history), Path(snakemake.output.page), [snakemake.params.notice])
