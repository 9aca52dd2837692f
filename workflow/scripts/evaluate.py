from pathlib import Path

from deepfakemnist.evaluation.stage import evaluate
from deepfakemnist.settings import EvaluationSettings
from deepfakemnist.workflow import stage_script

with stage_script(snakemake):
    evaluate(
        predictions=[Path(path) for path in snakemake.input.predictions],
        metrics_tsv=Path(snakemake.output.metrics),
        actions_tsv=Path(snakemake.output.actions),
        settings=EvaluationSettings(**snakemake.params.settings),
        seed=snakemake.params.seed,
    )
