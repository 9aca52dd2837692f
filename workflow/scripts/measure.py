from pathlib import Path

from deepfakemnist.config.detectors import EvaluationSettings
from deepfakemnist.evaluation.measured import write_measured
from deepfakemnist.evaluation.training_set import measure_training_set
from deepfakemnist.workflow.script import stage_script

with stage_script(snakemake):
    measured = measure_training_set(
        [Path(path) for path in snakemake.input.predictions],
        snakemake.wildcards.trained_on,
        EvaluationSettings(top_k=snakemake.params.top_k, calibration_bins=snakemake.params.calibration_bins),
        videos=Path(snakemake.input.videos),
        crops=[Path(path) for path in snakemake.input.crops],
        in_detail=snakemake.wildcards.where == "predictions",
    )
    write_measured(measured, Path(snakemake.output.table))
