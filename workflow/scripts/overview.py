from pathlib import Path

from deepfakemnist.report import overview as run
from deepfakemnist.report.cost import run_cost
from deepfakemnist.report.overview_page import write_overview
from deepfakemnist.tables.tsv import read_tsv
from deepfakemnist.workflow.script import stage_script

with stage_script(snakemake):
    given, params = snakemake.input, snakemake.params
    videos, verdicts = Path(given.videos), [Path(path) for path in given.verdicts]
    found, ledger = run.contents(videos), run.read_ledger(Path(given.ledger))
    audit, findings = read_tsv(Path(given.audit)), read_tsv(Path(given.identities))
    write_overview(
        Path(snakemake.output.overview),
        contents=found,
        steps=run.funnel(ledger, params.released),
        ranked=run.ranking(read_tsv(Path(given.metrics))),
        warnings=run.warnings(
            contents=found,
            ledger=ledger,
            actions=params.actions,
            findings=findings,
            audit=audit,
            quota=[row for path in given.quota for row in read_tsv(Path(path))],
            simulated=params.simulated,
            has_vendors=params.has_vendors,
        ),
        audit=audit,
        findings=findings,
        cost=run_cost(Path(params.results), Path(params.benchmarks), params.gpus, verdicts),
        made_with=run.made_with(videos, params.run),
        pages=run.described_pages(given.pages),
        actions=params.actions,
        config=run.config_text(params.config),
        simulated=params.simulated,
        notices=[params.notice],
    )
