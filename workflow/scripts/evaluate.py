from pathlib import Path

from deepfakemnist.config.detectors import EvaluationSettings
from deepfakemnist.evaluation.calibration import write_calibration
from deepfakemnist.evaluation.groups import evaluate_groups
from deepfakemnist.evaluation.stage import evaluate
from deepfakemnist.workflow.script import stage_script

with stage_script(snakemake):
    predictions = [Path(path) for path in snakemake.input.predictions]
    settings = EvaluationSettings(**snakemake.params.settings)
    evaluate(
        predictions=predictions,
        metrics_tsv=Path(snakemake.output.metrics),
        actions_tsv=Path(snakemake.output.actions),
        pairs_tsv=Path(snakemake.output.pairs),
        settings=settings,
        videos=Path(snakemake.input.videos),
        unscored_tsv=Path(snakemake.output.unscored),
    )
    if "groups" in snakemake.output.keys():  # noqa: SIM118 - no mapping
        write_calibration(
            predictions, Path(snakemake.output.calibration), Path(snakemake.output.curves), settings=settings
        )
        evaluate_groups(
            predictions=predictions,
            videos=Path(snakemake.input.videos),
            crops=[Path(path) for path in snakemake.input.crops],
            groups_tsv=Path(snakemake.output.groups),
            settings=settings,
        )
