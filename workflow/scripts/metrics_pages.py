from pathlib import Path

from deepfakemnist.report.figures import write_cross_quality_figure
from deepfakemnist.report.pages import write_actions_page, write_metrics_page
from deepfakemnist.workflow import stage_script

with stage_script(snakemake):
    write_metrics_page(Path(snakemake.input.metrics), Path(snakemake.output.table))
    write_actions_page(Path(snakemake.input.actions), Path(snakemake.output.actions))
    write_cross_quality_figure(Path(snakemake.input.metrics), Path(snakemake.output.figure))
