from pathlib import Path

from deepfakemnist.report.curve_figures import write_reliability_figure, write_roc_figure
from deepfakemnist.report.detector_pages import write_protocols_page
from deepfakemnist.report.figures import write_cross_quality_figure
from deepfakemnist.report.metrics_page import write_actions_page, write_metrics_page
from deepfakemnist.workflow.script import stage_script

with stage_script(snakemake):
    metrics, actions = Path(snakemake.input.metrics), Path(snakemake.input.actions)
    write_metrics_page(
        metrics,
        Path(snakemake.input.pairs),
        Path(snakemake.output.table),
        unscored=Path(snakemake.input.unscored),
        calibration=Path(snakemake.input.calibration),
    )
    write_actions_page(actions, Path(snakemake.output.actions))
    write_cross_quality_figure(metrics, Path(snakemake.output.figure))
    write_roc_figure(Path(snakemake.input.curves), Path(snakemake.output.roc))
    write_reliability_figure(Path(snakemake.input.curves), Path(snakemake.output.reliability))
    write_protocols_page(
        metrics=metrics,
        actions=actions,
        groups=Path(snakemake.input.groups),
        others=[Path(path) for path in snakemake.input.others],
        protocols=snakemake.params.protocols,
        path=Path(snakemake.output.protocols),
        published_split=snakemake.params.published_split,
    )
