from pathlib import Path

from deepfakemnist.report.actions_page import write_actions_page
from deepfakemnist.report.detector_pages import write_protocols_page
from deepfakemnist.report.metrics_page import MetricsTables, write_metrics_page
from deepfakemnist.workflow.script import stage_script

with stage_script(snakemake):
    notices = [snakemake.params.notice]
    names = ("metrics", "actions", "pairs", "groups", "unscored", "calibration", "curves")
    metrics, actions, pairs, groups, unscored, calibration, curves = (Path(snakemake.input[name]) for name in names)
    histories = [Path(path) for path in snakemake.input.histories]
    tables = MetricsTables(metrics, pairs, unscored, calibration, curves, histories)
    write_metrics_page(tables, Path(snakemake.output.table), notices)
    write_actions_page(metrics, actions, Path(snakemake.output.actions), notices)
    write_protocols_page(
        metrics=metrics,
        actions=actions,
        groups=groups,
        others=[Path(path) for path in snakemake.input.others],
        protocols=snakemake.params.protocols,
        path=Path(snakemake.output.protocols),
        published_split=snakemake.params.published_split,
        notices=notices,
    )
