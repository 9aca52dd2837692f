from pathlib import Path

from deepfakemnist.config.stages import SelectSettings
from deepfakemnist.report.liveness_page import write_liveness_page
from deepfakemnist.workflow.script import stage_script

with stage_script(snakemake):
    verdicts = [Path(path) for path in snakemake.input.verdicts]
    selected = [Path(path) for path in snakemake.input.selected]
    judged = [Path(path) for path in snakemake.input.judged]
    limits = SelectSettings(**snakemake.params.settings).limits
    notices = [snakemake.params.notice]
    write_liveness_page(verdicts, selected, judged, Path(snakemake.output.page), limits, notices)
