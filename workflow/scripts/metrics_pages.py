from pathlib import Path

from deepfakemnist.report.detector_pages import write_protocols_page
from deepfakemnist.report.figures import write_cross_quality_figure
from deepfakemnist.report.metrics_page import write_actions_page, write_metrics_page
from deepfakemnist.workflow.script import stage_script

with stage_script(snakemake):
    metrics, actions = Path(snakemake.input.metrics), Path(snakemake.input.actions)
    pairs, unscored = Path(snakemake.input.pairs), Path(snakemake.input.unscored)
    write_metrics_page(metrics, pairs, Path(snakemake.output.table), unscored)
    write_actions_page(actions, Path(snakemake.output.actions))
    write_cross_quality_figure(metrics, Path(snakemake.output.figure))
    write_protocols_page(
        metrics=metrics,
        actions=actions,
        groups=Path(snakemake.input.groups),
        others=[Path(path) for path in snakemake.input.others],
        protocols=snakemake.params.protocols,
        path=Path(snakemake.output.protocols),
        published_split=snakemake.params.published_split,
    )
