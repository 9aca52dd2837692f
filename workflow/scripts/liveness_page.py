from pathlib import Path

from deepfakemnist.report.liveness_page import write_examples, write_liveness_page, write_score_figure
from deepfakemnist.workflow.script import stage_script

with stage_script(snakemake):
    verdicts = [Path(path) for path in snakemake.input.verdicts]
    selected = [Path(path) for path in snakemake.input.selected]
    write_liveness_page(verdicts, selected, Path(snakemake.output.page))
    write_score_figure(verdicts, Path(snakemake.output.scores))
    write_examples(selected, Path(snakemake.output.examples))
